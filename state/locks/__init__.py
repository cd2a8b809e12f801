"""Locks with fencing tokens: leases in the store, which are renewed, and the line of those that wait."""
