"""Callbacks of a client, and the threads and futures for them."""
