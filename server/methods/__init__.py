"""The methods that a server serves: the queue, executor and statistics of each, and the keys of
those that run once.
"""
