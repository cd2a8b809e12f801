"""`ringback top`: live statistics of servers.

`watching.py` polls the servers and displays, `figures.py` computes the figures, `keys.py` reads the
keyboard.
"""
