"""What a store is kept in: `base.py` is the interface of an engine."""
