"""The methods of a server: the queue, executor and statistics of each, and runs once per key."""
