"""Locks with fencing tokens: renewed leases in the store, and a queue of waiters."""
