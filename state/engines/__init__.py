"""Storage engines of a store. `base.py` is their interface."""
