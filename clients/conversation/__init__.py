"""A client's end of the conversation: every call from `start` to its one ending, over links that come and go. It does no I/O.

`machine.py` is what the core uses. It is made of the links (`links.py`), the table of calls (`table.py`), what sends them (`sending.py`),
what becomes of those that fail on their way (`recovery.py`), and what takes messages from servers (`receiving.py`). Which of many servers
gets a call is chosen in `balancing/`.
"""
