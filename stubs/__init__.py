"""Typed modules for the clients of a service.

`description.py` reads a server's `describe` reply, `kinds.py` converts JSON Schema to types and
data classes, and `module.py` writes the module: one Protocol for calls and one for fired calls, for
`client.typed`. The reply is untrusted text: only its names, literals and escaped documentation
enter the module.
"""
