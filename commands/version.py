"""`ringback --version`: the versions that a bug report needs."""

from __future__ import annotations

import platform
from importlib import metadata

import typer

from ..terminal import say
from ..version import __version__

# Libraries whose versions are printed, if installed.
_LIBRARIES = (
    "pyzmq",
    "msgspec",
    "gevent",
    "Twisted",
    "uvloop",
    "PyNaCl",
    "redis",
    "pebble",
    "distributed",
)


def print_version(asked: bool) -> None:
    """Print the versions of ringback, its transport, Python and installed libraries, then exit."""
    if not asked:
        return
    from ..transport import name_of

    python = (
        f"{platform.python_implementation()} {platform.python_version()} on {platform.system()}"
    )
    say(f"ringback {__version__} (transport {name_of(None)}, {python})")
    say(", ".join(f"{name} {version}" for name in _LIBRARIES if (version := _version(name))))
    raise typer.Exit


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
