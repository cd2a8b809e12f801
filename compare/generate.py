"""The load generator, in a process of its own: `python -m ringback.compare.generate`, a plan on standard input, a result a line.

One generator has one client style, since gevent's patches and Twisted's reactor are for a whole process.
"""

from __future__ import annotations

import sys
from importlib import import_module

import msgspec

from .plan import Plan
from .results import Result


def main() -> None:
    """Measure the plan's cells in order, each printed when it is done."""
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    if plan.client == "gevent":
        from gevent import monkey

        monkey.patch_all()
    import_module(f".drive_{plan.client}", __package__).drive(plan, _report)


def _report(result: Result) -> None:
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
