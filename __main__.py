"""Entry point of `python -m ringback` and the command `ringback`, with a fast path for `health`.

An orchestrator runs the probe every few seconds for as long as a server lives. Parsing the options
of all commands takes twice the processor time of the probe itself.
"""

import sys
from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Run a command, as `cli.main` does, and return its exit status."""
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
