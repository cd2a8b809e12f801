"""The commands that `cli.py` combines, one file for each command or group, and their shared parts.

A command imports its dependencies inside its function: `--help` starts no event loop, and gevent's
patches must precede all other imports.
"""
