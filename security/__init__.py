"""CURVE keys of servers and clients.

`keys.py` makes and reads key files, `curve.py` has the keys given to a server or a client, and
`authorized.py` has the keys that a server admits.
"""
