"""`python -m ringback` and the command `ringback`: the commands of `cli.py`, and a short way to a probe.

A probe is run every few seconds for as long as a server lives, and what parses the options of all commands takes twice the processor
time of the probe itself.
"""

import sys
from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """As `cli.main`, which does it."""
    words = list(sys.argv[1:] if args is None else args)
    if words[:1] == ["health"]:
        from .commands.health import asked, run

        plain = asked(words[1:])
        if plain is not None:
            return run(*plain)
    from .cli import main as main_of_all

    return main_of_all(args)


if __name__ == "__main__":
    sys.exit(main())
