"""Bytes that nobody should send, by the ten thousand: the codec and both machines take them or
refuse them, and nothing else happens.
"""

from __future__ import annotations

import random
import resource
import time
from typing import Any

import pytest
from exchange import HELLO, WELCOME, heard_from_client, heard_from_server
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import HUGE, conversation, mutated
from oracles import CORPUS, ORACLES, Batch, packed, vectors
from ringback.errors import ProtocolError
from ringback.protocol import codec
from sizes import size

# Seconds of the processor for one input, on a slow machine that does other things.
LONG = 2.0
MIB = 1024

FROM = {"client": vectors("client"), "server": vectors("server")}
SAYS = {"server": ("client", HELLO), "client": ("server", WELCOME)}


def said(messages: list[Any]) -> list[Batch]:
    return [[bytes(frame) for frame in batch] for batch in codec.Encoder().encode(messages)]


def within_time(check: Any, data: bytes) -> None:
    begun = time.process_time()
    try:
        check(data)
    except BaseException as error:
        error.add_note(f"the input was {data.hex() if len(data) < 20_000 else len(data)}")
        raise
    assert time.process_time() - begun < LONG, f"too long for {data[:5000].hex()}"


@pytest.mark.timeout(size(60, 3600))
@pytest.mark.parametrize("name", ["codec", "server", "client"])
def test_mutated_batches_break_nothing(name, capsys):
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    count = size(7_000, 340_000)
    begun = time.monotonic()
    messages = 0
    try:
        while messages < count:
            if name == "codec":
                batches = FROM[chance.choice(["client", "server"])]
                talk = [mutated(chance, chance.choice(batches), batches)]
            else:
                end, opening = SAYS[name]
                talk = conversation(chance, FROM[end], said([opening])[0])
            within_time(ORACLES[name], packed(talk))
            messages += len(talk)
    except BaseException as error:
        error.add_note(f"seed {seed}")
        raise
    with capsys.disabled():
        print(f"\n{name}: {messages:,} mutated batches in {time.monotonic() - begun:.1f} s")


@settings(deadline=None, max_examples=size(60, 5000))
@given(said_=st.lists(heard_from_client, max_size=6), seed=st.integers(0, 1 << 32))
def test_a_server_keeps_its_rules_whatever_clients_say(said_, seed):
    _converse("server", said_, seed)


@settings(deadline=None, max_examples=size(60, 5000))
@given(said_=st.lists(heard_from_server, max_size=6), seed=st.integers(0, 1 << 32))
def test_a_client_keeps_its_rules_whatever_servers_say(said_, seed):
    _converse("client", said_, seed)


@settings(deadline=None, max_examples=size(100, 10_000))
@given(way=st.integers(0, 4), data=st.binary(max_size=3000))
def test_a_handshake_with_keys_keeps_its_rules_whatever_the_peer_says(way, data):
    within_time(ORACLES["curve"], bytes([way]) + data)


def _converse(name: str, messages: list[list[Any]], seed: int) -> None:
    chance = random.Random(seed)
    end, opening = SAYS[name]
    batches = [batch for each in [[opening], *messages] for batch in said(each)]
    if chance.random() < 0.5:
        batches = [
            batch if chance.random() < 0.7 else mutated(chance, batch, FROM[end])
            for batch in batches
        ]
    within_time(ORACLES[name], packed(batches))


@pytest.mark.parametrize(
    "path", sorted(CORPUS.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}"
)
def test_the_corpus_breaks_nothing(path):
    within_time(ORACLES[path.parent.name], path.read_bytes())


@pytest.mark.parametrize(
    "decoder", [codec.from_client, codec.from_server], ids=["client", "server"]
)
@pytest.mark.parametrize("declared", HUGE, ids=lambda data: data[:1].hex())
@pytest.mark.parametrize(
    "inside",
    [b"", b"\x91", b"\x91\x94\x03\x01\xa1m", b"\x91\x93\x09\x01"],
    ids=["batch", "message", "args", "result"],
)
def test_a_length_that_lies_takes_no_memory(decoder, declared, inside):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ProtocolError):
        decoder().decode([codec.PREAMBLE + inside + declared])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * MIB


@pytest.mark.parametrize("name", ["server", "client"])
def test_a_long_batch_takes_time_in_proportion(name):
    """Twice as much may take somewhat more than twice as long, and not four times."""
    end, opening = SAYS[name]
    rounds = []
    for count in (10_000, 40_000):
        batch = codec.PREAMBLE + b"\xdd" + count.to_bytes(4, "big") + b"\x92\x0c\x01" * count
        data = packed([said([opening])[0], [batch]])
        took = []
        for _ in range(3):
            begun = time.process_time()
            try:
                ORACLES[name](data)
            except AssertionError as error:
                if "how much the client keeps" not in str(error):
                    raise
            took.append(time.process_time() - begun)
        rounds.append(min(took))
    assert end
    assert rounds[1] < 12 * rounds[0] + 0.05
