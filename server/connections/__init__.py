"""A server on its transport: `core.py` ties it to a loop, `outgoing.py` holds unread replies."""
