"""What `cli.py` puts together: the commands, a file for each or for those that belong together, and the parts that they share.

A command imports what it needs inside itself: `--help` starts no event loop, and gevent's patches come before all else.
"""
