"""Checks the words of the package and its pages: `python tests/words.py` names each line that breaks a rule.

ringback speaks plain English: a noun is the subject of a sentence, and a known thing has its known
name. The rules below are those that a program can check. Ends with status 1 if a line breaks one.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent

# Old private names, and the field's names for the same things.
NAMES = {
    r"\blanes?\b": "arm or treatment",
    r"\brehears\w+\b": "calibration",
    r"\btall(?:y|ies)\b": "method statistics",
    r"(?<![`.{(\"])\btwins?\b(?![.`\"])": "A/A control, duplicate call, or counterpart",
    r"\bgreed\b": "quota",
    r"\bthe look\b": "the poll or the check",
    r"\b(?:is|are) let in\b": "admitted",
    r"\bmay nothing\b": "denied",
}
# Clauses without a noun as their subject, in the Python files outside of tests: at most `CLAUSES` in all.
HEADS = re.compile(
    r"\b(?:so many|nobody|who is)\b|(?:^|[.,:;(] *|\b(?:and|or|but) )what is\b", re.IGNORECASE
)
CLAUSES = 40
COLUMNS = 100

_PROSE = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", -1)}


def prose(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """The lines of comments and strings, or of a page outside of its code blocks, with their numbers."""
    if path.suffix == ".py":
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in _PROSE:
                yield from enumerate(token.string.splitlines(), token.start[0])
        return
    code = False
    for number, line in enumerate(text.splitlines(), 1):
        code ^= line.lstrip().startswith("```")
        if not code:
            yield number, line


def is_forced(path: Path, line: str) -> bool:
    """Whether a line may be long: tables, links, commands, and what tools need in one line."""
    if path.suffix == ".py":
        return any(mark in line for mark in ("://", "# noqa", "# type: ignore"))
    return "://" in line or "](" in line or line.lstrip("- ").startswith(("|", "`"))


def main() -> int:
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    problems: list[str] = []
    heads: list[str] = []
    for name in listed.stdout.split():
        path = ROOT / name
        if path == Path(__file__) or not path.exists():
            continue
        text, test = path.read_text(), name.startswith("tests/")
        lines = enumerate(text.splitlines(), 1) if path.suffix == ".py" else prose(path, text)
        problems += [
            f"{name}:{number}: more than {COLUMNS} columns"
            for number, line in lines
            if len(line) > COLUMNS and not test and not is_forced(path, line)
        ]
        for number, line in prose(path, text):
            for pattern, better in NAMES.items():
                if re.search(pattern, line, re.IGNORECASE):
                    problems.append(f"{name}:{number}: say {better}: {line.strip()}")
            if path.suffix == ".py" and not test and HEADS.search(line):
                heads.append(f"{name}:{number}: give the clause a noun: {line.strip()}")
    if len(heads) > CLAUSES:
        problems += heads
    print(
        "\n".join(problems)
        or f"{len(heads)} clauses without a noun (at most {CLAUSES}), no other problem"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
