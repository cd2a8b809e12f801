"""atheris, over one of the oracles.

Not among the tests' requirements: `tox -e fuzz` installs it.
"""

from __future__ import annotations

import sys
from pathlib import Path

# (as pytest has them)
sys.path += [
    str(Path(__file__).parent),
    *(str(Path(__file__).parent.parent / name) for name in ("protocol", "zmtp")),
]


def run(name: str) -> None:
    """Fuzz until the options on the command line say that it is enough; they are libFuzzer's."""
    import atheris

    with atheris.instrument_imports(
        include=["ringback.protocol", "ringback.zmtp", "oracles", "curve_oracle"]
    ):
        import oracles

    atheris.Setup(sys.argv, oracles.ORACLES[name])
    atheris.Fuzz()
