"""What docs/protocol.md says in tables and examples, against the code and the vectors: the
specification must stay true.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ringback import errors
from ringback.protocol import codec, messages

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
BLOCKS = TEXT.split("```")[1::2]

ROW = re.compile(r"\| (\d+) \| (\w+) \| ([CS, ]+) \| (.*)\|")
FIELD = re.compile(
    r"`(\w+)`((?: (?:int|str|bytes|bool|value|map|or|nil|of|to|flags))*)(?: = (\S+?))?(?:,|$)"
)
ROWS = {row[2]: row for row in ROW.finditer(TEXT)}
DEFAULTS = {"nil": None, "0": 0, "65536": 65536, "1024": 1024, '""': "", "false": False}


def kinds(union: Any) -> set[str]:
    return {kind.__name__ for kind in union.__args__}


def test_every_message_has_a_row_in_the_table():
    assert set(ROWS) == kinds(messages.Message)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_has_the_tag_and_who_may_say_it(name):
    tag, sender = ROWS[name][1], ROWS[name][3].strip()
    said_by = [
        end
        for end, union in (("C", messages.FromClient), ("S", messages.FromServer))
        if name in kinds(union)
    ]
    assert (int(tag), sender) == (getattr(messages, name).__struct_config__.tag, ", ".join(said_by))


@pytest.mark.parametrize("name", ROWS)
def test_a_row_has_the_fields_and_their_defaults(name):
    said = [
        (field[1], DEFAULTS[field[3]] if field[3] else msgspec.NODEFAULT)
        for field in FIELD.finditer(ROWS[name][4].strip())
    ]
    fields = msgspec.structs.fields(getattr(messages, name))
    assert said == [(field.name, field.default) for field in fields]


def test_the_table_of_error_codes_names_their_classes():
    rows = re.findall(r"^\| `([A-Z_]+)` \| `(\w+)` \|", TEXT, re.MULTILINE)
    assert {name: code for code, name in rows} == {
        name: getattr(errors, name).code
        for name in errors.__all__
        if name not in ("CallError", "UsageError")
    }


def examples() -> list[str]:
    """The batches that are written out in full, as hex: what each line begins with, up to its first
    word that is no hex.
    """
    batches: list[str] = []
    for block in BLOCKS:
        if "> 52424b01" in block:
            for line in block.splitlines():
                words = line.split()
                if words and words[0] in "<>":
                    batches.append("")
                    words = words[1:]
                for word in words:
                    if not re.fullmatch("(?:[0-9a-f]{2})+", word):
                        break
                    batches[-1] += word
    return batches


def test_the_examples_are_among_the_vectors():
    vectors = json.loads((ROOT / "tests" / "vectors" / "valid.json").read_text(encoding="utf-8"))
    first_frames = {frame for vector in vectors for frame in vector["frames"][:1]}
    assert len(examples()) == 4
    assert set(examples()) <= first_frames


def test_the_call_as_short_as_it_may_be_is_the_call_of_the_example():
    (short,) = re.findall(r"as short as it may be: `([0-9a-f ]+)`", TEXT)
    decoded = [codec.from_client().decode([bytes.fromhex(text)]) for text in (short, examples()[2])]
    assert decoded[0] == decoded[1]
