"""A client on its transport.

`core.py` ties the conversation to a loop, and `wire.py` each link to its connection.
"""
