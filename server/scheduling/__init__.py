"""Decides which calls run when.

`scheduler.py` orders the waiting calls, `resources.py` counts what running calls take, `limiter.py`
learns concurrency limits, and `pace.py` decides whether short calls run in batches.
"""
