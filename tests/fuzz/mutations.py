"""Batches that are nearly right: bytes flipped, cut, doubled, lengths made huge, frames dropped,
added and put in another order.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from oracles import Batch
from ringback.protocol.codec import PREAMBLE

# The first byte of what says its length, with one that is not so.
HUGE = (
    b"\xc6\xff\xff\xff\xff",  # bin
    b"\xdb\xff\xff\xff\xff",  # str
    b"\xdd\xff\xff\xff\xff",  # array
    b"\xdf\xff\xff\xff\xff",  # map
    b"\xc9\xff\xff\xff\xff\x01",  # extension
    b"\xc5\xff\xff",
    b"\xdc\xff\xff",
    b"\xde\xff\xff",
)
# Bytes that mean something where they stand.
TELLING = bytes(
    [
        0x00,
        0x7F,
        0x80,
        0x8F,
        0x90,
        0x9F,
        0xA0,
        0xBF,
        0xC0,
        0xC1,
        0xC4,
        0xC7,
        0xCB,
        0xCF,
        0xD3,
        0xD4,
        0xD5,
        0xDC,
        0xE0,
        0xFF,
    ]
)


def mutated(chance: random.Random, batch: Batch, others: Sequence[Batch]) -> Batch:
    """The batch with one to four changes; parts of others may come into it."""
    frames = list(batch)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(frames))
        frame = frames[place]
        at = chance.randrange(4, len(frame)) if len(frame) > 4 and chance.random() < 0.95 else 0
        match chance.randrange(12):
            case 0:
                frame = frame[:at]
            case 1:
                frame = frame[:at] + bytes([chance.randrange(256)]) + frame[at + 1 :]
            case 2 | 3:
                frame = frame[:at] + bytes([chance.choice(TELLING)]) + frame[at + 1 :]
            case 4:
                frame = frame[:at] + chance.choice(HUGE) + frame[at:]
            case 5:
                frame = frame[:at] + frame[at:] * 2
            case 6:
                to = chance.randint(at, len(frame))
                frame = frame[:to] + frame[at:to] * chance.randint(1, 4) + frame[to:]
            case 7:
                other = chance.choice(others)[0]
                frame = frame[:at] + other[chance.randrange(len(other) + 1) :]
            case 8:  # two batches in one
                other = chance.choice(others)[0][5:]
                frame = PREAMBLE + b"\xdc\x00" + bytes([chance.randrange(5)]) + frame[5:] + other
            case 9:
                frames.insert(place, chance.choice(chance.choice(others)))
                continue
            case 10 if len(frames) > 1:
                del frames[place]
                continue
            case _:
                frames[place], frames[-1] = frames[-1], frames[place]
                continue
        frames[place] = frame[:100_000]
    return frames


def conversation(
    chance: random.Random, batches: Sequence[Batch], opening: Batch | None = None
) -> list[Batch]:
    """A few batches, right and wrong; some said by the other peer of the machine's two."""
    said = [opening] if opening is not None and chance.random() < 0.9 else []
    for _ in range(chance.randint(1, 8)):
        batch = chance.choice(batches)
        if chance.random() < 0.8:
            batch = mutated(chance, batch, batches)
        if chance.random() < 0.2:
            batch = [b"!" + batch[0], *batch[1:]]
        said.append(batch)
    return said
