"""The client side of the protocol: each call from `start` to its single end, over changing links.

It does no I/O. The core uses `machine.py`. This consists of the links (`links.py`), the table of
calls (`table.py`), the sender (`sending.py`), the recovery of calls that failed on their way
(`recovery.py`), and the receiver of the servers' messages (`receiving.py`). `balancing/` chooses a
server for each call.
"""
