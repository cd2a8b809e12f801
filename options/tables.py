"""Options as a Markdown table for the documentation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .option import Option


def table(options: Mapping[str, Option], *, flags: bool, names: bool) -> Iterator[str]:
    """The lines of a table. `flags` adds the command-line column, `names` the Python column."""
    heads = [
        *(["option"] if flags else []),
        *(["in Python"] if names else []),
        "default",
        "meaning",
    ]
    yield _row(heads)
    yield _row(["---"] * len(heads))
    for option in options.values():
        if not (flags and option.in_command) and not (names and option.in_python):
            continue
        cells = []
        if flags:
            cells.append(f"`{_flag(option)}`" if option.in_command else "")
        if names:
            cells.append(f"`{option.name}`" if option.in_python else "")
        yield _row([*cells, option.told, option.help])


def _flag(option: Option) -> str:
    if option.kind is bool:
        return f"--{option.flag}/--no-{option.flag}" if option.default else f"--{option.flag}"
    return f"--{option.flag} {option.metavar}"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
