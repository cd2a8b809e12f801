"""Writes options.md beside it from the descriptions of all options: `python
docs/reference/options.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from ringback.clients.options import ConnectOptions
from ringback.commands.options import DESCRIBED
from ringback.options.option import options_of
from ringback.options.tables import table

import_module("ringback.cli")  # whose commands describe their options

PAGE = Path(__file__).with_name("options.md")

HEAD = """# Options

Every option of a command is given in one of these ways; what stands first wins:

1. on the command line: `--max-size 1048576`;
2. in the environment: `RINGBACK_SERVE_MAX_SIZE=1048576`, so `RINGBACK_<COMMAND>_<OPTION>`. Values
   of an option that may be repeated are words as a shell has them. A switch is on for `1`, `true`,
   `yes` and `on`.
   `RINGBACK_TRANSPORT` stands behind the variables of all commands;
3. in the TOML file of `--config FILE`: in a table named after the command, or outside of all
   tables;
4. in `pyproject.toml` of the working directory, in the table `[tool.ringback.<command>]`.

For [calc.py](../../examples/calc.py), say:

```toml
# pyproject.toml
[tool.ringback.serve]
target = "calc.py:service"
bind = ["tcp://127.0.0.1:5555"]
workers = 64
resource = {db = 4}
```

```console
$ ringback serve
ringback: calc on tcp://127.0.0.1:5555 (asyncio)
$ ringback call tcp://127.0.0.1:5555 add 1 2
3
```

In files a name may have dashes or underscores. A wrong value or an unknown name ends the command
with status 2 and one line that says where it stands. Paths are taken from the working directory.
"""


def page() -> str:
    """The page as it should be."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield HEAD
    yield (
        "## Servers\n\nKeyword arguments of `ringback.Server` and `ringback.serve`, and options "
        "of `ringback serve`.\n"
    )
    yield from table(DESCRIBED["serve"], flags=True, names=True)
    yield (
        "\n## Clients\n\nKeyword arguments of `ringback.connect`; those of `client.options` come "
        "first.\n"
    )
    yield from table(options_of(ConnectOptions), flags=False, names=True)
    for command, options in DESCRIBED.items():
        if command != "serve":
            yield f"\n## ringback {command}\n"
            yield from table(options, flags=True, names=False)
    yield ""


if __name__ == "__main__":
    PAGE.write_text(page())
