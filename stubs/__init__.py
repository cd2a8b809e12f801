"""Typed modules for clients of a service: `description.py` reads what `describe` tells, `kinds.py` makes types and data classes of JSON
Schema, `module.py` writes the module: a Protocol of calls and one of fired calls, for `client.typed`. What a server tells is text of a
stranger's: only names, literals and escaped documentation of it get into the module."""
