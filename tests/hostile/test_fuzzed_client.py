"""Fuzzes a whole client of each style: a hostile server answers with generated messages.

Every call ends once and in time, answered ones before their deadline, honest ones with their
results.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from generated import (
    Chance,
    animal,
    encode,
    factory,
    hashed,
    how,
    post,
    post_struct,
    some,
    value,
    whole,
)
from msgspec import Raw
from raw import said
from ringback.protocol.codec import PREAMBLE
from ringback.protocol.messages import Call, End, Reply
from servers import hostile
from sizes import size

DECEIVED = Path(__file__).with_name("deceived.py")
SECONDS = size(3.0, 3600.0)
CALLS = size(1 << 40, 250_000)
FRAMES = [b"frame", bytes(70_000), b""]
CODES = (
    "UNKNOWN",
    "",
    "\0",
    "OK",
    "UNAVAILABLE",
    "INVALID_ARGUMENT",
    "INTERNAL",
    "C" * 10_000,
    "é",
)
# Of the types that the client asks for.
FITTING = (
    post,
    post_struct,
    some(post),
    factory,
    some(hashed),
    animal,
    how,
    whole,
    value,
    lambda chance: b"\xd6\xff" + chance.randbytes(4),
    lambda chance: b"\xc7\x03\xff" + chance.randbytes(3),
)


class Deceiver:
    """What the server does with a call: right for `add`, nothing for `silent`, else a few messages
    of any kind.

    None of them is a fault, and the last one ends the call, if it has not ended before.
    """

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self.messages = 0
        self._ids = [0]  # of calls that may be answered with anything

    def __call__(self, call: Call) -> list[list[bytes]]:
        chance = self._chance
        if call.method == "add":
            one, other = (part for part in bytes(call.args)[1:])  # of one byte each
            return [said(Reply(call.id, Raw(encode(one + other))))]
        if call.method == "silent":
            return []
        self._ids = [*self._ids[-50:], call.id]
        messages = []
        if call.method == "streamed":
            for _ in range(int(chance.random() * min(call.credit, 6))):
                messages.append(encode([7, call.id, Raw(chance.one(FITTING)(chance))]))
        messages += [self._message(call.id) for _ in range(chance.one((0, 0, 1, 2)))]
        if call.method == "streamed":
            messages.append(encode(End(call.id)))
        else:
            messages.append(encode([9, call.id, Raw(chance.one(FITTING)(chance))]))
        self.messages += len(messages)
        first = PREAMBLE + encode([Raw(message) for message in messages])
        return [[first, *FRAMES] if chance.random() < 0.3 else [first]]

    def _message(self, number: int) -> bytes:
        chance = self._chance
        if chance.random() < 0.1:
            number = chance.one((*self._ids, number + (1 << 40), (1 << 64) - 1))
        which = chance.random()
        if which < 0.55:
            return encode([9, number, Raw(chance.one(FITTING)(chance))])
        if which < 0.75:
            kind, text = chance.one(("", "K", "\0" * 300)), "m" * chance.one((0, 9, 9000))
            return encode([10, number, chance.one(CODES), kind, text])
        if which < 0.82:
            return encode([11, number, chance.one(CODES), "no", chance.one((True, False, None))])
        if which < 0.86:
            return encode([7, number, Raw(value(chance))])
        if which < 0.90:
            return encode([8, number])
        if which < 0.93:
            return encode([6, number, chance.one((0, 1, -1, (1 << 64) - 1))])
        if which < 0.96:
            return encode([18, number, chance.one(({}, {"tests": (1 << 64) - 1}, {"": -1}))])
        return encode([chance.one((12, 13)), chance.one((0, -1, (1 << 64) - 1))])


@pytest.mark.timeout(size(60, 3600))
@pytest.mark.parametrize("style", ["threading", "gevent", "asyncio", "twisted"])
def test_whatever_a_server_answers_ends_the_call_that_it_answers(style, capsys):
    seed = int(os.environ.get("RINGBACK_SEED") or random.randrange(1 << 32))
    deceiver = Deceiver(Chance(seed))
    words = [style, str(SECONDS), str(CALLS), str(seed)]
    paths = {"PYTHONPATH": os.pathsep.join([*sys.path, os.environ.get("PYTHONPATH", "")])}
    with hostile(deceiver) as deceiving, hostile(Deceiver(Chance(seed))) as honest:
        done = subprocess.run(
            [sys.executable, str(DECEIVED), *words, deceiving, honest],
            capture_output=True,
            text=True,
            timeout=size(50, 3500),
            env={**os.environ, **paths},
            check=False,
        )
    failed = f"RINGBACK_SEED={seed}: {done.stderr[-4000:]}"
    assert done.returncode == 0, failed
    told = json.loads(done.stdout.splitlines()[-1])
    with capsys.disabled():
        print(
            f"\n{style}, seed {seed}: {told['calls']:,} calls, {deceiver.messages:,} messages: ",
            end="",
        )
        print(told["outcomes"])
    assert told["wrong"] == [], failed
    assert told["outcomes"]["result"] > told["calls"] / 10
