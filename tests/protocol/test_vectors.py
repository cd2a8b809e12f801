"""The byte vectors of the specification, read as another implementation's tests would read them."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ringback.errors import ProtocolError
from ringback.protocol import codec, messages
from ringback.protocol.values import STREAM, pack

VECTORS = Path(__file__).parent.parent / "vectors"


def load(name: str) -> list[Any]:
    vectors = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    return [pytest.param(vector, id=vector["name"].replace(" ", "-")) for vector in vectors]


def frames(vector: dict[str, Any]) -> list[bytes]:
    return [unhex(frame) for frame in vector["frames"]]


def unhex(text: str) -> bytes:
    data = b""
    for part in text.split(" + "):
        byte, _, count = part.partition(" * ")
        data += bytes.fromhex(byte) * int(count or 1)
    return data


def decoder(vector: dict[str, Any]) -> Any:
    return codec.from_client() if vector["from"] == "client" else codec.from_server()


def meant(value: Any) -> Any:
    """A meaning's JSON as the value."""
    match value:
        case {"$bytes": text}:
            return unhex(text)
        case {"$int": text}:
            return int(text)
        case {"$float": text}:
            return float(text)
        case {"$stream": True}:
            return STREAM
        case {"$time": text}:
            return datetime.fromisoformat(text)
        case dict():
            return {key: meant(item) for key, item in value.items()}
        case list():
            return [meant(item) for item in value]
    return value


def understood(message: Any, values: Any) -> dict[str, Any]:
    """A decoded message in the form of a meaning."""

    def plain(value: Any) -> Any:
        if isinstance(value, msgspec.Raw):
            return values.plain(value)
        if hasattr(value, "__struct_fields__"):
            return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
        if isinstance(value, dict):  # (keys of JSON are text)
            return {str(key): plain(item) for key, item in value.items()}
        return value

    return {
        "type": type(message).__name__,
        "tag": message.__struct_config__.tag,
        "fields": {name: plain(getattr(message, name)) for name in message.__struct_fields__},
    }


def built(meaning: dict[str, Any]) -> Any:
    """The message that a meaning describes, ready to be encoded."""
    kind = getattr(messages, meaning["type"])
    fields = {name: meant(value) for name, value in meaning["fields"].items()}
    for name in ("args", "value", "result", "results"):
        if name in fields:
            fields[name] = pack(fields[name], 1 << 24)
    if fields.get("kwargs"):
        fields["kwargs"] = {name: pack(value, 1 << 24) for name, value in fields["kwargs"].items()}
    if fields.get("options"):
        fields["options"] = messages.CallOptions(**fields["options"])
    if fields.get("about"):
        fields["about"] = messages.About(**fields["about"])
    if fields.get("failures"):
        failures = fields["failures"].items()
        fields["failures"] = {
            int(place): messages.Failure(**failure) for place, failure in failures
        }
    if "methods" in fields:
        fields["methods"] = {
            name: messages.MethodFlags(**flags) for name, flags in fields["methods"].items()
        }
    return kind(**fields)


@pytest.mark.parametrize("vector", load("valid"))
def test_a_batch_is_encoded_to_exactly_these_bytes(vector):
    batches = codec.Encoder().encode([built(meaning) for meaning in vector["messages"]])
    assert [[bytes(frame) for frame in batch] for batch in batches] == [frames(vector)]


@pytest.mark.parametrize("vector", load("valid") + load("lenient"))
def test_these_bytes_have_this_meaning(vector):
    reader = decoder(vector)
    decoded = reader.decode(frames(vector))
    assert [understood(message, reader.values) for message in decoded] == [
        {**meaning, "fields": meant(meaning["fields"])} for meaning in vector["messages"]
    ]


def holds(meaning: Any, old: Any) -> bool:
    """Whether a meaning has all that an old one has; fields may have been added since."""
    if isinstance(old, dict) and isinstance(meaning, dict):
        return all(name in meaning and holds(meaning[name], value) for name, value in old.items())
    return bool(meaning == old)


@pytest.mark.parametrize("vector", load("0.1"))
def test_a_batch_of_an_old_release_has_its_meaning_and_its_bytes(vector):
    """Releases with one wire version understand one another: these vectors are never changed."""
    reader = decoder(vector)
    for message, old in zip(reader.decode(frames(vector)), vector["messages"], strict=True):
        assert holds(understood(message, reader.values), {**old, "fields": meant(old["fields"])})
    batches = codec.Encoder().encode([built(meaning) for meaning in vector["messages"]])
    assert [[bytes(frame) for frame in batch] for batch in batches] == [frames(vector)]


@pytest.mark.parametrize(
    "vector", [v for v in load("invalid") if v.values[0]["spoils"] == "connection"]
)
def test_what_is_no_batch_is_an_error_of_the_protocol(vector):
    with pytest.raises(ProtocolError):
        decoder(vector).decode(frames(vector))


@pytest.mark.parametrize("vector", [v for v in load("invalid") if v.values[0]["spoils"] == "call"])
def test_a_bad_value_spoils_only_its_own_call(vector):
    reader = decoder(vector)
    bad, good = reader.decode(frames(vector))
    with pytest.raises((msgspec.MsgspecError, ValueError)):
        reader.values.plain(bad.args)
    assert reader.values.plain(good.args) == []


def test_every_kind_of_message_has_a_vector():
    shown = {
        meaning["type"] for vector in load("valid") for meaning in vector.values[0]["messages"]
    }
    kinds = {kind.__name__ for kind in messages.Message.__args__}
    assert shown == kinds
