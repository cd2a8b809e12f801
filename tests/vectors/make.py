"""Writes the byte vectors beside it. Run it after a change of the protocol, and read the difference
it makes.

    python tests/vectors/make.py

`valid.json`: batches in hex, frame by frame, with their meaning. `lenient.json`: what this
implementation never writes, but reads.
`invalid.json`: what must be refused, and what it spoils: the "connection" (this is no batch), or
one "call" (a value is no value).

In hex, "ab * 40" is 40 times the byte ab, and " + " joins parts. In a meaning, {"$bytes": hex} is
bytes, {"$int": decimal} an
integer beyond 53 bits, {"$time": text} a timestamp, {"$float": text} what JSON has no number for,
{"$stream": true} an
argument that streams; a string is always text.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ringback.protocol import codec
from ringback.protocol import messages as m
from ringback.protocol.values import STREAM, pack

HERE = Path(__file__).parent
LIMIT = 1 << 24
LARGE = b"\xab" * 65536
INSTANCE = bytes(range(16))


def packed(value: Any) -> Any:
    return pack(value, LIMIT)


def call(id_: int, method: str, *args: Any, **fields: Any) -> m.Call:
    return m.Call(id_, method, packed(list(args)), **fields)


# name, who says it, the messages, the values in them by (message, field) as they are meant
VALID: list[tuple[str, str, list[Any], list[dict[str, Any]]]] = [
    ("an empty batch", "client", [], []),
    ("hello", "client", [m.Hello(INSTANCE, 16777216, "example 1.0")], [{}]),
    ("hello without the name of the software", "client", [m.Hello(INSTANCE, 65536)], [{}]),
    (
        "welcome",
        "server",
        [
            m.Welcome(
                INSTANCE,
                "calculator",
                16777216,
                100000,
                {
                    "add": m.MethodFlags(),
                    "count": m.MethodFlags(stream=True),
                    "get": m.MethodFlags(readonly=True),
                    "put": m.MethodFlags(idempotent=True),
                    "pay": m.MethodFlags(once=True),
                },
            )
        ],
        [{}],
    ),
    (
        "welcome from a server that is one of many",
        "server",
        [
            m.Welcome(
                INSTANCE,
                "accounts",
                16777216,
                100000,
                {"get": m.MethodFlags(readonly=True)},
                m.About("replica", "eu-1", 2.0),
            )
        ],
        [{}],
    ),
    (
        "welcome from a server that takes less in a batch",
        "server",
        [m.Welcome(INSTANCE, "accounts", 65536, 1000, {}, None, 100, 16)],
        [{}],
    ),
    ("a call", "client", [call(1, "add", 1, 2)], [{"args": [1, 2]}]),
    (
        "a call with an argument that streams",
        "client",
        [call(1, "total", STREAM)],
        [{"args": [{"$stream": True}]}],
    ),
    ("a call without arguments", "client", [call(1, "ringback.ping")], [{"args": []}]),
    (
        "a call with every field",
        "client",
        [
            call(
                7,
                "count",
                10,
                kwargs={"step": packed(2)},
                timeout=30000,
                credit=64,
                options=m.CallOptions({"trace": "4bf9"}, 5, "key-1"),
            )
        ],
        [{"args": [10], "kwargs": {"step": 2}}],
    ),
    (
        "a call with some options",
        "client",
        [call(8, "add", 1, 2, options=m.CallOptions(priority=-1))],
        [{"args": [1, 2]}],
    ),
    (
        "a call whose caller has seen versions",
        "client",
        [call(9, "get", "a", options=m.CallOptions(versions={"accounts": 4711}))],
        [{"args": ["a"]}],
    ),
    (
        "many calls of one method",
        "client",
        [m.Map(10, "add", packed([[1, 2], [3, 4]]))],
        [{"args": [[1, 2], [3, 4]]}],
    ),
    (
        "many calls with every field",
        "client",
        [m.Map(11, "pay", packed([["ada"]]), None, 5000, 0, m.CallOptions(key="k"), 1000)],
        [{"args": [["ada"]]}],
    ),
    (
        "a welcome from a server that takes maps",
        "server",
        [
            m.Welcome(
                INSTANCE, "calculator", 65536, 1000, {}, m.About("primary", "eu-1", 2.0, 10000)
            )
        ],
        [{}],
    ),
    (
        "what became of many calls",
        "server",
        [m.Mapped(10, 0, packed([3, 7]))],
        [{"results": [3, 7]}],
    ),
    (
        "what became of many calls, of which some failed",
        "server",
        [
            m.Mapped(
                10,
                2,
                packed([None, 7, None]),
                {
                    2: m.Failure("UNKNOWN", "no", "ValueError"),
                    4: m.Failure("RESOURCE_EXHAUSTED", "full"),
                },
            )
        ],
        [{"results": [None, 7, None]}],
    ),
    ("a one-way call", "client", [m.Notify("log", packed(["hello"]))], [{"args": ["hello"]}]),
    (
        "a one-way call with every field",
        "client",
        [m.Notify("log", packed([]), {"text": packed("hello")}, m.CallOptions(key="k"))],
        [{"args": [], "kwargs": {"text": "hello"}}],
    ),
    ("cancel", "client", [m.Cancel(7)], [{}]),
    ("credit", "client", [m.Credit(7, 32)], [{}]),
    ("an item of an argument", "client", [m.Item(7, packed(1))], [{"value": 1}]),
    ("an item", "server", [m.Item(7, packed({"n": 1}))], [{"value": {"n": 1}}]),
    ("end", "server", [m.End(7)], [{}]),
    ("a reply", "server", [m.Reply(1, packed(3))], [{"result": 3}]),
    ("a reply of nothing", "server", [m.Reply(2, packed(None))], [{"result": None}]),
    (
        "an error that the handler raised",
        "server",
        [m.Error(3, "UNKNOWN", "ZeroDivisionError", "division by zero")],
        [{}],
    ),
    (
        "an error with a status of its own",
        "server",
        [m.Error(4, "DEADLINE_EXCEEDED", "", "slow did not finish in time")],
        [{}],
    ),
    ("a refusal", "server", [m.Refusal(5, "UNAVAILABLE", "the server is shutting down")], [{}]),
    (
        "a refusal that says it is unknown",
        "server",
        [m.Refusal(6, "UNAVAILABLE", "gone", None)],
        [{}],
    ),
    (
        "a refusal of a call that had begun",
        "server",
        [m.Refusal(6, "ABORTED", "moved on", True)],
        [{}],
    ),
    ("ping", "client", [m.Ping(99)], [{}]),
    ("pong", "server", [m.Pong(99)], [{}]),
    ("drain", "server", [m.Drain()], [{}]),
    ("drained", "client", [m.Drained()], [{}]),
    ("bye from the server", "server", [m.Bye()], [{}]),
    ("bye from the client", "client", [m.Bye()], [{}]),
    ("fault", "server", [m.Fault("this is not ringback's protocol (wrong magic)")], [{}]),
    (
        "a reply and what it has seen",
        "server",
        [m.Reached(9, {"accounts": 4712}), m.Reply(9, packed(3))],
        [{}, {"result": 3}],
    ),
    (
        "several messages in one batch",
        "server",
        [m.Reply(1, packed("a")), m.Reply(2, packed("b")), m.Credit(3, 1), m.End(4)],
        [{"result": "a"}, {"result": "b"}, {}, {}],
    ),
    (
        "integers of 64 bits",
        "server",
        [m.Reply(1, packed([-(1 << 63), (1 << 64) - 1]))],
        [{"result": [-(1 << 63), (1 << 64) - 1]}],
    ),
    (
        "integers of more than 64 bits",
        "server",
        [m.Reply(1, packed([1 << 64, -(1 << 63) - 1, 1 << 100, -(1 << 100)]))],
        [{"result": [1 << 64, -(1 << 63) - 1, 1 << 100, -(1 << 100)]}],
    ),
    (
        "times",
        "server",
        [
            m.Reply(
                1,
                packed(
                    [
                        datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC),
                        datetime(2024, 1, 2, 3, 4, 5, 678900, UTC),
                        datetime(1960, 1, 1, tzinfo=UTC),
                    ]
                ),
            )
        ],
        [
            {
                "result": [
                    datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC),
                    datetime(2024, 1, 2, 3, 4, 5, 678900, UTC),
                    datetime(1960, 1, 1, tzinfo=UTC),
                ]
            }
        ],
    ),
    (
        "plain values",
        "server",
        [m.Reply(1, packed([None, True, False, 1.5, float("inf"), "é", b"\x00\xff", [], {}]))],
        [{"result": [None, True, False, 1.5, float("inf"), "é", b"\x00\xff", [], {}]}],
    ),
    (
        "bytes in a frame of their own",
        "server",
        [m.Reply(1, packed(LARGE))],
        [{"result": LARGE}],
    ),
    (
        "bytes in frames of their own, inside other values",
        "client",
        [
            call(1, "put", "key", LARGE),
            m.Notify("log", packed([]), {"data": packed({"one": LARGE + b"1", "two": b"small"})}),
        ],
        [
            {"args": ["key", LARGE]},
            {"args": [], "kwargs": {"data": {"one": LARGE + b"1", "two": b"small"}}},
        ],
    ),
]

PREAMBLE = "52424b01"


def bad_call(args: str) -> str:
    """A batch of a call with these arguments and a good call."""
    return PREAMBLE + "92940301a161" + args + "940302a16190"


# name, who says it, the frames, what is spoiled; for "call" a good call, 2, follows the bad one, 1
INVALID: list[tuple[str, str, list[str], str]] = [
    ("nothing at all", "client", [""], "connection"),
    ("half a preamble", "client", ["52424b"], "connection"),
    ("wrong magic", "client", ["4854545090"], "connection"),
    ("the magic in small letters", "client", ["72626b0190"], "connection"),
    ("version 2", "client", ["52424b0290"], "connection"),
    ("version 0", "client", ["52424b0090"], "connection"),
    ("a preamble and no messages", "client", [PREAMBLE], "connection"),
    ("a preamble in a frame of its own", "client", [PREAMBLE, "90"], "connection"),
    ("a batch that is a map", "client", [PREAMBLE + "80"], "connection"),
    ("bytes after the batch", "client", [PREAMBLE + "9000"], "connection"),
    ("a batch cut short", "client", [PREAMBLE + "919403"], "connection"),
    (
        "a call cut short inside its arguments",
        "client",
        [PREAMBLE + "91940301a1619201"],
        "connection",
    ),
    ("a message that is a map", "client", [PREAMBLE + "9181a16101"], "connection"),
    ("a message without a tag", "client", [PREAMBLE + "9190"], "connection"),
    ("an unknown tag", "client", [PREAMBLE + "91926301"], "connection"),
    ("a tag that is a string", "client", [PREAMBLE + "9192a14301"], "connection"),
    ("a reply from a client", "client", [PREAMBLE + "91930901c0"], "connection"),
    ("a call from a server", "server", [PREAMBLE + "91940301a16190"], "connection"),
    ("a call without its arguments", "client", [PREAMBLE + "91930301a161"], "connection"),
    ("an id that is a float", "client", [PREAMBLE + "919205cb3ff0000000000000"], "connection"),
    ("an id that is true", "client", [PREAMBLE + "919205c3"], "connection"),
    ("an instance that is a string", "client", [PREAMBLE + "919301a16105"], "connection"),
    (
        "a nil for a text that may be left out",
        "client",
        [PREAMBLE + "919401c4010005c0"],
        "connection",
    ),
    ("a method's name that is no UTF-8", "client", [PREAMBLE + "91940301a1ff90"], "connection"),
    (
        "keyword arguments that are an array",
        "client",
        [PREAMBLE + "91950301a1619090"],
        "connection",
    ),
    (
        "a byte that MessagePack never uses, in a value",
        "client",
        [PREAMBLE + "91940301a16191c1"],
        "connection",
    ),
    (
        "a value nested too deep",
        "client",
        [PREAMBLE + "91940301a161 + 91 * 100000 + 90"],
        "connection",
    ),
    ("a nil for the credit", "client", [PREAMBLE + "91980301a16190c0c0c0c0"], "connection"),
    ("a nil for an id", "client", [PREAMBLE + "919205c0"], "connection"),
    ("options that are an array", "client", [PREAMBLE + "91980301a16190c0c00090"], "connection"),
    (
        "a priority that is a string",
        "client",
        [PREAMBLE + "91980301a16190c0c00081a87072696f72697479a137"],
        "connection",
    ),
    ("more messages than there are bytes", "client", [PREAMBLE + "ddffffffff"], "connection"),
    (
        "an array longer than its batch, in a value",
        "client",
        [PREAMBLE + "91940301a161ddffffffff"],
        "connection",
    ),
    (
        "a map longer than its batch, in a value",
        "client",
        [PREAMBLE + "91940301a161dfffffffff"],
        "connection",
    ),
    ("a text longer than its batch", "client", [PREAMBLE + "91940301dbffffffff61"], "connection"),
    (
        "bytes longer than their batch, in a value",
        "client",
        [PREAMBLE + "91940301a16191c6ffffffff61"],
        "connection",
    ),
    (
        "an extension longer than its batch",
        "client",
        [PREAMBLE + "91940301a16191c9ffffffff0100"],
        "connection",
    ),
    ("a string that is no UTF-8, in a value", "client", [bad_call("91a1ff")], "call"),
    ("a frame that is not there", "client", [bad_call("91d5010000")], "call"),
    ("the frame after the last", "client", [bad_call("91d5010001"), "ff"], "call"),
    ("a frame's number of three bytes", "client", [bad_call("91c70301000000"), "ff"], "call"),
    ("a map whose key is a map", "client", [bad_call("91818001")], "call"),
    ("a timestamp of five bytes", "client", [bad_call("91c705ff0000000000")], "call"),
]

# What we never write and yet read: a peer may be newer, or plainer, than we are. Name, who says it,
# the frames, the meaning.
LENIENT: list[tuple[str, str, list[str], list[Any], list[dict[str, Any]]]] = [
    (
        "a hello that stops early",
        "client",
        [PREAMBLE + "919301c40100cd1000"],
        [m.Hello(b"\0", 4096)],
        [{}],
    ),
    (
        "a call that stops after its arguments",
        "client",
        [PREAMBLE + "91940301a16190"],
        [call(1, "a")],
        [{"args": []}],
    ),
    (
        "a one-way call that stops after its arguments",
        "client",
        [PREAMBLE + "919304a16190"],
        [m.Notify("a", packed([]))],
        [{"args": []}],
    ),
    (
        "a refusal that stops after its text",
        "server",
        [PREAMBLE + "91940b01a158a0"],
        [m.Refusal(1, "X", "", False)],
        [{}],
    ),
    ("a field more than there is", "client", [PREAMBLE + "91930501a178"], [m.Cancel(1)], [{}]),
    (
        "numbers longer than they need be",
        "client",
        [PREAMBLE + "9192cd0005ce00000001"],
        [m.Cancel(1)],
        [{}],
    ),
    (
        "arrays longer than they need be",
        "client",
        [PREAMBLE + "dc0001dd000000020501"],
        [m.Cancel(1)],
        [{}],
    ),
    (
        "an option that is not known",
        "client",
        [PREAMBLE + "91980301a16190c0c00082a17a01a87072696f7269747907"],
        [call(1, "a", options=m.CallOptions(priority=7))],
        [{"args": []}],
    ),
    (
        "a method's flag that is not known",
        "server",
        [PREAMBLE + "919602c40100a1730a0a81a16181a17ac3"],
        [m.Welcome(b"\0", "s", 10, 10, {"a": m.MethodFlags()})],
        [{}],
    ),
    (
        "a frame's number of one byte",
        "server",
        [PREAMBLE + "91930901d40100", "6869"],
        [m.Reply(1, packed(None))],
        [{"result": b"hi"}],
    ),
    (
        "a frame's number of no bytes",
        "server",
        [PREAMBLE + "91930901c70001", "6869"],
        [m.Reply(1, packed(None))],
        [{"result": b"hi"}],
    ),
    (
        "an empty frame",
        "server",
        [PREAMBLE + "91930901d5010000", ""],
        [m.Reply(1, packed(None))],
        [{"result": b""}],
    ),
    (
        "one frame referred to twice, and one not at all",
        "server",
        [PREAMBLE + "9193090192d5010001d5010001", "00", "6869"],
        [m.Reply(1, packed(None))],
        [{"result": [b"hi", b"hi"]}],
    ),
    (
        "a small integer written as a large one",
        "server",
        [PREAMBLE + "91930901d402ff"],
        [m.Reply(1, packed(None))],
        [{"result": -1}],
    ),
    (
        "a large integer of no bytes",
        "server",
        [PREAMBLE + "91930901c70002"],
        [m.Reply(1, packed(None))],
        [{"result": 0}],
    ),
    (
        "one moment in each of the three forms of a timestamp",
        "server",
        [
            PREAMBLE
            + "9193090193"
            + "d6ff65937d25"
            + "d7ff0000000065937d25"
            + "c70cff000000000000000065937d25"
        ],
        [m.Reply(1, packed(None))],
        [{"result": [datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)] * 3}],
    ),
    (
        "a map with the same key twice",
        "server",
        [PREAMBLE + "9193090182a16101a16102"],
        [m.Reply(1, packed(None))],
        [{"result": {"a": 2}}],
    ),
]


def meaning(value: Any) -> Any:
    """A value as JSON."""
    if isinstance(value, bytes):
        return {"$bytes": shortened(value)}
    if isinstance(value, datetime):
        return {"$time": value.isoformat()}
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return {"$float": str(value)}
    if isinstance(value, int) and abs(value) >= 1 << 53:
        return {"$int": str(value)}
    if isinstance(value, list):
        return [meaning(item) for item in value]
    if isinstance(value, dict):
        return {key: meaning(item) for key, item in value.items()}
    if hasattr(value, "__struct_fields__"):
        return {name: meaning(getattr(value, name)) for name in value.__struct_fields__}
    return value


def shortened(data: bytes) -> str:
    """Hex, with long runs of one byte told by their length."""
    parts: list[str] = []
    plain = bytearray()
    position = 0
    while position < len(data):
        run = len(data) - position - len(data[position:].lstrip(data[position : position + 1]))
        if run > 32:
            if plain:
                parts.append(plain.hex())
                plain.clear()
            parts.append(f"{data[position : position + 1].hex()} * {run}")
            position += run
        else:
            plain.append(data[position])
            position += 1
    if plain or not parts:
        parts.append(plain.hex())
    return " + ".join(parts)


def vector(
    name: str, sender: str, frames: list[str], messages: list[Any], values: Any
) -> dict[str, Any]:
    return {
        "name": name,
        "from": sender,
        "frames": frames,
        "messages": [
            {
                "type": type(message).__name__,
                "tag": message.__struct_config__.tag,
                "fields": {
                    field: meaning(said.get(field, getattr(message, field)))
                    for field in message.__struct_fields__
                },
            }
            for message, said in zip(messages, values, strict=True)
        ],
    }


def main() -> None:
    valid = []
    for name, sender, messages, values in VALID:
        (frames,) = codec.Encoder().encode(messages)
        valid.append(
            vector(name, sender, [shortened(bytes(frame)) for frame in frames], messages, values)
        )
    invalid = [
        {"name": name, "from": sender, "frames": frames, "spoils": spoils}
        for name, sender, frames, spoils in INVALID
    ]
    lenient = [vector(*entry) for entry in LENIENT]
    for name, vectors in (("valid", valid), ("invalid", invalid), ("lenient", lenient)):
        text = json.dumps(vectors, indent=1, ensure_ascii=False)
        (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
