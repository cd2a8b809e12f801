"""`ringback stubs`: the module that it writes is what the running client of each style can be,
whatever the service tells of itself.
"""

from __future__ import annotations

import ast
import asyncio
import datetime
import enum
import sys
import types
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import pytest
import ringback
import shop
from hypothesis import example, given
from hypothesis import strategies as st
from ringback import clients
from ringback.errors import UsageError
from ringback.stubs.description import read
from ringback.stubs.module import module_of
from ringback.testing import serving

TODAY = datetime.date(2026, 1, 2)
SHOP = f"{Path(shop.__file__)}:service"


def loaded(text: str, name: str = "written") -> Any:
    """The text as a module."""
    made = types.ModuleType(name)
    sys.modules[name] = made  # where annotations are looked up
    exec(text, made.__dict__)
    return made


def written(service: ringback.Service, style: str = "threading") -> Any:
    """The module for that service."""
    return loaded(module_of(read(service.describe()), style, clients.load(style)).text)


@pytest.mark.parametrize("style", ["threading", "gevent"])
def test_a_blocking_client_is_what_the_module_says(style: Any) -> None:
    module = written(shop.service, style)
    item = module.Item("tea", Decimal("2.5"), size="large", date=datetime.date(2026, 1, 2))
    when = datetime.datetime(2026, 1, 2, 3)
    seen: list[Any] = []
    with serving(shop.service, client=style) as client:
        tea = client.typed(module.TeaShop)
        assert tea.add(1) == 3
        assert tea.order(item, when, "soon", urgent=True, more=2) == {3: item}
        assert tea.pay(module.Card("1", class_="credit")) == [
            module.Card("1", class_="credit"),
            datetime.datetime(2026, 1, 2),
        ]
        assert tea.cash(3) == module.Cash(3)
        assert tea.find(module.Filter(text="tea")) == module.Filter(text="tea")
        one = uuid.UUID(int=1)
        assert tea.place(one, b"12") == (2, str(one))
        assert [each.name for each in tea.items(2)] == ["tea 0", "tea 1"]
        assert tea.total(iter([0.5, 1.0])) == 1.5
        assert tea.list(3) == [{3}]
        assert tea.echo({"any": [1]}) == {"any": [1]}
        assert tea.accounts.close("ada") is True
        fired = client.typed(module.TeaShopFire)
        future = fired.order(item, when, callback=seen.append)
        assert (future.get() if style == "gevent" else future.result()) == {0: item}
        fired.accounts.close(1, errback=seen.append)
    # The client was closed, which waits for callbacks.
    assert seen[0] == {0: item}
    assert isinstance(seen[1], ringback.errors.InvalidArgument)


def test_an_asyncio_client_is_what_the_module_says() -> None:
    module = written(shop.service, "asyncio")

    async def numbers() -> Any:
        yield 1.5

    async def main() -> None:
        async with serving(shop.service, client="asyncio") as client:
            tea, fired = client.typed(module.TeaShop), client.typed(module.TeaShopFire)
            assert await tea.cash(3) == module.Cash(3)
            assert [each.name async for each in tea.items(2)] == ["tea 0", "tea 1"]
            assert await tea.total(numbers()) == await tea.total(iter([1.5])) == 1.5
            assert await tea.accounts.close("ada") is True
            seen: list[Any] = []
            assert await fired.pay(module.Cash(1), callback=seen.append) == seen[0]
            assert seen[0][0] == module.Cash(1)

    asyncio.run(main())


ON_TWISTED = """
import shop
from ringback.testing import serving
from test_stubs import written
from twisted.internet import task
from twisted.internet.defer import Deferred, ensureDeferred

module = written(shop.service, "twisted")

async def main():
    async with serving(shop.service, client="twisted") as client:
        tea, fired = client.typed(module.TeaShop), client.typed(module.TeaShopFire)
        called = tea.cash(3)
        assert isinstance(called, Deferred)
        assert await called == module.Cash(3)
        assert [each.name async for each in tea.items(2)] == ["tea 0", "tea 1"]
        seen = []
        assert await fired.pay(module.Cash(1), callback=seen.append) == seen[0]
        assert seen[0][0] == module.Cash(1)

task.react(lambda reactor: ensureDeferred(main()))
"""


def test_a_twisted_client_is_what_the_module_says(run_program: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    ran = run_program("-c", ON_TWISTED)
    assert ran.status == 0, ran


def test_a_target_and_a_server_give_the_same_module(run_program: Any, tmp_path: Path) -> None:
    with serving(shop.service, bind="tcp://127.0.0.1:*") as client:
        server = run_program("-m", "ringback", "stubs", client.server.endpoint)
    target = run_program("-m", "ringback", "stubs", SHOP, "--output", "tea.py")
    assert (server.status, target.status, target.out) == (0, 0, "")
    assert (tmp_path / "tea.py").read_text() == server.out
    assert (
        server.err
        == target.err
        == "ringback: left out, because a Protocol cannot declare them: class\n"
    )
    assert (
        server.out
        == module_of(read(shop.service.describe()), "threading", clients.load("threading")).text
    )


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["nowhere.py:service"], 2, "there is no file nowhere.py"),
        (["nowhere"], 2, "bad target 'nowhere'"),
        (["tcp://127.0.0.1:1", "--no-wait"], 1, "UNAVAILABLE: "),
        ([SHOP, "--client", "tornado"], 2, "tornado"),
        (
            [SHOP, "--output", "no/such/tea.py"],
            1,
            "cannot write no/such/tea.py: No such file or directory",
        ),
    ],
)
def test_what_cannot_be_written_is_one_line(
    run_program: Any, words: list[str], status: int, says: str
) -> None:
    ran = run_program("-m", "ringback", "stubs", *words)
    assert (ran.status, ran.out) == (status, "")
    assert says in ran.err.splitlines()[-1]
    assert "Traceback" not in ran.err


def service_of(*functions: Callable[..., Any]) -> ringback.Service:
    service = ringback.Service("odd")
    for function in functions:
        service.method(function)
    return service


def test_classes_of_one_name_are_told_apart() -> None:
    def one(value: Any) -> Any: ...

    def other(value: Any) -> Any: ...

    import msgspec

    one.__annotations__["value"] = msgspec.defstruct("Value", [("a", int)])
    other.__annotations__["value"] = msgspec.defstruct("Value", [("a", str)])
    module = written(service_of(one, other))
    assert [module.Value.__annotations__, module.Value2.__annotations__] == [
        {"a": "int"},
        {"a": "str"},
    ]


def test_names_that_python_has_not_are_named() -> None:
    service = ringback.Service("1 odd: class")
    for name in ("a.b", "a", "x.y.z", "_private", "two words", "größe", "import.x", "ﬁ"):
        service.method(name=name)(lambda: None)
    described = service.describe()
    module = module_of(read(described), "threading", clients.load("threading"))
    assert set(module.left_out) == {"a.b", "_private", "two words", "import.x", "ﬁ"}
    made = loaded(module.text)
    with serving(service) as client:
        odd = client.typed(
            next(value for name, value in vars(made).items() if name.endswith("Class"))
        )
        assert [odd.a(), odd.größe(), odd.x.y.z()] == [None] * 3


# What a server may tell of itself: anything.
TEXTS = st.sampled_from(
    ['"""', "\\", 'x"', "\n", "\u202e", "\ud800", "import os", "Order", "Any", "class", "a.b", ""]
)
NAMES = TEXTS | st.text(max_size=8)
SCHEMAS = st.recursive(
    st.sampled_from(
        [
            *(
                {"type": each}
                for each in ("string", "integer", "number", "boolean", "null", "array", "object")
            ),
            *(
                {"type": "string", "format": each}
                for each in ("date-time", "date", "uuid", "decimal", "\n")
            ),
            *({"$ref": f"#/$defs/{each}"} for each in ("A", "B", "C", '"')),
            *[{}, 5, None, {"type": []}, {"$ref": 5}, {"anyOf": 5}, {"enum": 5}, {"enum": []}],
        ]
    )
    | st.builds(
        lambda values: {"enum": values}, st.lists(TEXTS | st.integers() | st.none() | st.booleans())
    ),
    lambda inner: st.one_of(
        st.builds(lambda items: {"type": "array", "items": items, "uniqueItems": True}, inner),
        st.builds(
            lambda items: {"type": "array", "prefixItems": items}, st.lists(inner, max_size=3)
        ),
        st.builds(
            lambda values: {"type": "object", "additionalProperties": values, "x-keys": {}}, inner
        ),
        st.builds(lambda options: {"anyOf": options}, st.lists(inner, max_size=3)),
        st.builds(
            lambda options: {
                "anyOf": options,
                "discriminator": {
                    "propertyName": "type",
                    "mapping": {"a": "#/$defs/A", "b": "#/$defs/B"},
                },
            },
            st.lists(inner, max_size=3),
        ),
        st.builds(
            lambda properties, required, default: {
                "type": "object",
                "properties": {
                    name: schema | {"default": default}
                    if isinstance(schema, dict) and default != 7
                    else schema
                    for name, schema in properties.items()
                },
                "required": required,
            },
            st.dictionaries(NAMES | st.just("type"), inner, max_size=4),
            st.lists(NAMES, max_size=2),
            st.none() | st.integers() | TEXTS | st.just([]) | st.just({}) | st.floats(),
        ),
    ),
    max_leaves=8,
)
PARAMETERS = st.fixed_dictionaries(
    {
        "name": NAMES | st.sampled_from(["a", "self", "__x"]),
        "kind": st.sampled_from(
            [
                "positional_only",
                "positional_or_keyword",
                "var_positional",
                "keyword_only",
                "var_keyword",
            ]
        ),
        "required": st.booleans(),
        "stream": st.booleans(),
    }
)
METHODS = st.fixed_dictionaries(
    {
        "name": NAMES | st.sampled_from(["add", "a.b.c"]),
        "parameters": st.lists(PARAMETERS, max_size=3),
        "stream": st.booleans(),
        "doc": NAMES,
        "schema": st.fixed_dictionaries(
            {
                "arguments": st.builds(
                    lambda schema: schema if isinstance(schema, dict) else {}, SCHEMAS
                ),
                "result": st.builds(
                    lambda schema: schema if isinstance(schema, dict) else {}, SCHEMAS
                ),
                "$defs": st.dictionaries(
                    st.sampled_from(["A", "B", "C", '"', "a\nb"]),
                    st.builds(lambda schema: schema if isinstance(schema, dict) else {}, SCHEMAS),
                    max_size=3,
                ),
            }
        ),
    }
)
# All that a module is made of: nothing of it runs a server's text.
HARMLESS = (
    *(
        ast.Module,
        ast.ImportFrom,
        ast.alias,
        ast.ClassDef,
        ast.FunctionDef,
        ast.AsyncFunctionDef,
        ast.arguments,
    ),
    *(
        ast.arg,
        ast.AnnAssign,
        ast.Assign,
        ast.Expr,
        ast.Constant,
        ast.Name,
        ast.Subscript,
        ast.Tuple,
        ast.BinOp,
    ),
    *(
        ast.BitOr,
        ast.Load,
        ast.Store,
        ast.keyword,
        ast.Call,
        ast.List,
        ast.Pass,
        ast.UnaryOp,
        ast.USub,
    ),
)
MODULES = {
    "__future__",
    "builtins",
    "collections.abc",
    "concurrent.futures",
    "asyncio",
    "dataclasses",
    "datetime",
}
MODULES |= {
    "decimal",
    "msgspec",
    "typing",
    "uuid",
    "ringback.clients.gevent",
    "twisted.internet.defer",
}


@given(NAMES, st.lists(METHODS, max_size=3), st.sampled_from(["threading", "asyncio", "twisted"]))
def test_whatever_a_server_tells_the_module_can_be_imported_and_holds_no_code(
    name: str, methods: list[Any], style: str
) -> None:
    described = {"name": name, "methods": methods}
    try:
        text = module_of(read(described), style, clients.load(style)).text
    except UsageError:
        return
    text.encode()
    tree = ast.parse(text)
    for node in ast.walk(tree):
        assert isinstance(node, HARMLESS), ast.dump(node)
        if isinstance(node, ast.ImportFrom):
            assert node.module in MODULES
        if isinstance(node, ast.Call):
            assert isinstance(node.func, ast.Name)
            assert node.func.id.rstrip("0123456789") in ("field", "dataclass")
    loaded(text)


@st.composite
def annotations(draw: st.DrawFn) -> Any:
    """A type that a handler may be annotated with."""
    plain = st.sampled_from(
        [
            *(
                int,
                float,
                bool,
                str,
                bytes,
                None,
                Any,
                datetime.datetime,
                datetime.date,
                datetime.time,
            ),
            *(
                datetime.timedelta,
                Decimal,
                uuid.UUID,
                shop.Size,
                shop.Item,
                shop.Cash,
                shop.Card,
                shop.Filter,
            ),
            *(shop.Place, shop.Cash | shop.Card, shop.Item | None, int | str | None),
        ]
    )
    keys = st.sampled_from([int, str, tuple[int, str], shop.Size, uuid.UUID])
    kinds = st.recursive(
        plain,
        lambda inner: st.one_of(
            st.builds(lambda kind: list[kind], inner),
            st.builds(lambda kind: tuple[kind, ...], inner),
            st.builds(lambda one, other: tuple[one, other], inner, inner),
            st.builds(lambda key, value: dict[key, value], keys, inner),
        ),
        max_leaves=4,
    )
    return draw(kinds)


@given(annotations())
@example(set[int])
@example(frozenset[str] | None)
def test_results_of_any_type_arrive_as_the_module_says(kind: Any) -> None:
    def made() -> Any: ...

    made.__annotations__["return"] = kind
    service = service_of(made)
    client = clients.load("threading")("tcp://127.0.0.1:5555")
    client.typed(written(service).Odd)  # which refuses what no result can be


def test_models_of_pydantic_are_classes_of_the_module() -> None:
    pydantic = pytest.importorskip("pydantic")
    Line = pydantic.create_model("Line", name=(str, ...), at=(datetime.datetime | None, None))
    Cat = pydantic.create_model("Cat", kind=(Literal["cat"], "cat"), lives=(int, ...))
    Dog = pydantic.create_model("Dog", kind=(Literal["dog"], "dog"))
    pet = Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]
    amount = pydantic.Field(1, alias="total-amount")
    Bill = pydantic.create_model(
        "Bill", lines=(list[Line], []), pet=(pet, ...), amount=(int, amount)
    )

    def send(value: Any) -> Any:
        return value

    def first(value: Any) -> Any:
        return value.lines[0]

    send.__annotations__.update({"value": Bill, "return": Bill})
    first.__annotations__.update({"value": Bill, "return": Line})
    service = service_of(send, first)
    module = written(service)
    bill = module.Bill(lines=[module.Line("tea")], pet=module.Cat(9), total_amount=3)
    with serving(service) as client:
        odd = client.typed(module.Odd)
        assert odd.send(bill) == bill
        assert odd.first(bill) == module.Line("tea")  # one class, wherever it is described


@dataclass(frozen=True)
class Frozen:
    a: int
    b: float = float("inf")  # which JSON has not


class Access(enum.IntFlag):
    READ = 1
    WRITE = 2


At = TypedDict(
    "At", {"@date": datetime.date, "@field": int, "created": datetime.date, "": str, "_date": int}
)
AT: At = {"@date": TODAY, "@field": 1, "created": TODAY, "": "x", "_date": 2}


@pytest.mark.parametrize(
    ("kind", "value", "arrives"),
    [
        (frozenset[Frozen], frozenset([Frozen(1)]), "[Frozen(a=1, b=inf)]"),
        (set[tuple[int, ...]], {(1, 2)}, "[[1, 2]]"),
        (frozenset[frozenset[int]], frozenset([frozenset([1])]), "[{1}]"),
        (set[tuple[int, str]], {(1, "a")}, "{(1, 'a')}"),
        (Access, Access.READ | Access.WRITE, "3"),
        (Access | None, None, "None"),
        (
            At,
            AT,
            (
                "At(field='x', date=datetime.date(2026, 1, 2), field_=1, date_=2, "
                "created=datetime.date(2026, 1, 2))"
            ),
        ),
        (Literal[1, 1 << 62], 1 << 62, str(1 << 62)),
    ],
)
def test_values_arrive_as_the_types_of_the_module(kind: Any, value: Any, arrives: str) -> None:
    def made() -> Any:
        return value

    made.__annotations__["return"] = kind
    service = service_of(made)
    with serving(service) as client:
        assert repr(client.typed(written(service).Odd).made()) == arrives


def test_models_are_written_as_they_are_sent() -> None:
    pydantic = pytest.importorskip("pydantic")

    class Cat(pydantic.BaseModel):
        kind: Literal["cat", "lion"]

    class Dog(pydantic.BaseModel):
        kind: Literal["dog"] = "dog"

    class Zoo(pydantic.BaseModel):
        pet: Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]
        prices: dict[int, str] = {1: "one"}
        both: int = pydantic.Field(1, validation_alias="taken", serialization_alias="sent")
        text: int = 5

        @pydantic.field_serializer("text")
        def _in_words(self, text: int) -> str:
            return f"it is {text}"

    def zoo() -> Any:
        return Zoo(pet=Cat(kind="lion"))

    zoo.__annotations__["return"] = Zoo
    service = service_of(zoo)
    with serving(service) as client:
        found = client.typed(written(service).Odd).zoo()
        assert (found.pet, found.prices, found.sent, found.text) == (
            {"kind": "lion"},
            {1: "one"},
            1,
            "it is 5",
        )


def test_parts_called_fire_are_parts() -> None:
    service = ringback.Service("odd")
    service.method(name="fire.start")(lambda x: x)
    service.method(name="other")(lambda x: x)
    module = written(service)
    with serving(service) as client:
        assert client.typed(module.Odd).fire.start(3) == client.typed(module.Odd).other(3) == 3
        assert client.typed(module.OddFire).fire.start(3).result() == 3


def result_of(schema: Any, definitions: Any) -> Any:
    """A description with one method of that result."""
    method = {"name": "add", "parameters": [], "stream": False}
    return read(
        {"name": "odd", "methods": [method | {"schema": {"result": schema, "$defs": definitions}}]}
    )


def test_a_small_description_makes_no_large_module() -> None:
    nested: Any = {}
    for _ in range(200):
        nested = {"type": "array", "items": nested}
    pairs = {
        f"A{n}": {"type": "array", "prefixItems": [{"$ref": f"#/$defs/A{n + 1}"}] * 2}
        for n in range(60)
    }
    for described in (result_of(nested, {}), result_of({"$ref": "#/$defs/A0"}, pairs)):
        text = module_of(described, "threading", clients.load("threading")).text
        assert len(text) < 200_000
        loaded(text)


TOO_DEEP = """
import ringback
service = ringback.Service("deep")

class Described(dict):
    pass

def describe():
    nested = {}
    for _ in range(20_000):
        nested = {"items": nested}
    method = {"name": "add", "parameters": [], "stream": False, "schema": {"result": nested}}
    return {"name": "deep", "methods": [method]}

service.describe = describe
"""


def test_a_description_that_cannot_be_read_is_one_line(run_program: Any, tmp_path: Path) -> None:
    (tmp_path / "deep.py").write_text(TOO_DEEP)
    ran = run_program("-m", "ringback", "stubs", "deep.py:service")
    assert (ran.status, ran.out, len(ran.lines)) == (1, "", 0), ran
    assert ran.err.startswith("ringback: the description of the service cannot be ")
    assert ran.err.count("\n") == 1
