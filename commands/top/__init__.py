"""`ringback top`: `figures.py` makes figures of what servers report, `keys.py` reads keys of a terminal, `watching.py` asks, waits and
shows."""
