"""`python -m ringback.compare.peers NAME WORKERS`: the server of that peer."""

from __future__ import annotations

import sys

from ...errors import UsageError
from . import load

if __name__ == "__main__":
    name, workers = sys.argv[1:]
    if name == "zerorpc":
        # Before the import of modules that keep references to unpatched functions.
        from gevent import monkey

        monkey.patch_all()
    try:
        peer = load(name)
    except UsageError as error:
        sys.exit(f"ringback: {error}")
    peer.serve(int(workers))
