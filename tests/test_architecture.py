"""Where a service's or a caller's own code runs, whatever it raises is taken (decision 0023). This
is read off the source, so that no new
place goes around the rule.

Code of theirs is known by the names below. Each use of one stands in a `try` that takes
BaseException, or in a function of RELAYS.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = [
    "protocol",
    "server",
    "clients",
    "backends",
    "state",
    "balancing",
    "discovery",
    "logs",
    "runtime",
]

# Attributes that are theirs, or run theirs: handlers, lifespans, tags of caches, policies, and
# their types in values.
ATTRIBUTES = {"__enter__", "__aenter__", "__exit__", "__aexit__", "tags_of", "typed"}
# Names of functions that do.
FUNCTIONS = {"interceptor", "_typed", "anext", "pack", "pack_any", "pack_args", "pack_together"}
# Objects of theirs, whatever is done with which.
OBJECTS = {"generator", "source", "iterator", "manager"}
# Theirs, to be called by `run_callback` alone.
CALLBACKS = {"callback", "errback", "listener"}
# What has a method of such a name, and is not theirs.
DEFERREDS = {"deferred", "future", "room", "idle", "started", "ended", "waiter"}

# Files in which these names are of something else: a service that is declared and not called, and
# where servers are found.
OTHERS = {"server/declare/service.py", "clients/connections/core.py"}

# Functions in which they are used freely, and who takes what these raise.
RELAYS = {
    "server/calls/invocations/invocation.py:Invocation._called": "Invocation._work",
    "server/calls/invocations/invocation.py:Invocation._await": "its task, but for what would end the loop, which it takes itself",
    "server/calls/invocations/invocation.py:Invocation._job": "it makes a job of the function, and does not call it",
    "server/calls/maps/slices.py:Slice._one": "Slice._called",
    "server/calls/invocations/streams.py:StreamInvocation._advanced": "StreamInvocation._advance",
    "server/calls/invocations/streams.py:StreamInvocation._advanced_async": "StreamInvocation._advance_async, and its task",
    "server/methods/once.py:KeyedRun.work": "Invocation._work, around Invocation._called",
    "server/methods/once.py:KeyedRun.work_async": "as Invocation._await, which calls it",
    "server/declare/arguments.py:Arguments._value": "Arguments.bind",
    "server/executors/elsewhere.py:_called": "work",
    "clients/calls/arguments.py:pack_arguments": "the caller, whose arguments these are",
    "clients/calls/maps.py:MapCalls._send": "the caller, whose arguments these are, and MapCalls._go_on_later",
    "clients/calls/uploads.py:_Upload._send": "SyncUpload._run and AsyncUpload._run",
    "clients/calls/uploads.py:_stepwise": "AsyncUpload._run, which advances it",
    "clients/calls/cached.py:": "_decoded, which uses it",
    "protocol/values.py:pack": "whoever packs",
}


class Use:
    """One use of their code: where, and whether what it raises is taken there."""

    def __init__(self, where: str, line: int, what: str, taken: bool) -> None:
        self.where, self.line, self.what, self.taken = where, line, what, taken

    def __repr__(self) -> str:
        return f"{self.where}, line {self.line}: {self.what}"


def uses() -> Iterator[Use]:
    for path in files():
        name = path.relative_to(ROOT).as_posix()
        if name not in OTHERS:
            yield from _in(ast.parse(path.read_text()), name, "", False)


def files() -> list[Path]:
    """Those of these packages, and those beside them."""
    found = [
        *ROOT.glob("*.py"),
        *(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")),
    ]
    return sorted(found)


def _in(node: ast.AST, name: str, scope: str, taken: bool) -> Iterator[Use]:
    what = _use(node)
    if what:
        yield Use(f"{name}:{scope}", node.lineno, what, taken)  # type: ignore[attr-defined]
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST):
                continue
            inner, safe = scope, taken
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                inner, safe = f"{scope}.{child.name}".lstrip("."), False
            elif isinstance(node, ast.Try):
                safe = taken or (field == "body" and any(map(_takes_all, node.handlers)))
            elif isinstance(node, (ast.With, ast.AsyncWith)) and field == "body":
                safe = taken or any(_is_logged(item) for item in node.items)
            yield from _in(child, name, inner, safe)


def _takes_all(handler: ast.ExceptHandler) -> bool:
    return isinstance(handler.type, ast.Name) and handler.type.id == "BaseException"


def _is_logged(item: ast.withitem) -> bool:
    call = item.context_expr
    return (
        isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "_logged"
    )


def _use(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
        owner = node.value
        if node.attr == "function" and isinstance(owner, (ast.Name, ast.Attribute)):
            named = owner.id if isinstance(owner, ast.Name) else owner.attr
            return f"{named}.function" if named in ("method", "job", "self") else ""
        if node.attr == "choose" and isinstance(owner, ast.Attribute) and owner.attr == "_policy":
            return "policy.choose"
        return node.attr if node.attr in ATTRIBUTES else ""
    if not isinstance(node, ast.Call):
        return ""
    if isinstance(node.func, ast.Attribute) and node.func.attr in ("short", "_factory"):
        return node.func.attr
    if isinstance(node.func, ast.Name):
        if node.func.id in FUNCTIONS | CALLBACKS:
            return node.func.id
        given = node.args[0] if node.args else None
        if node.func.id in ("next", "iter") and isinstance(given, ast.Name) and given.id in OBJECTS:
            return f"{node.func.id}({given.id})"
    if isinstance(node.func, ast.Attribute):
        owner = node.func.value
        named = owner.id if isinstance(owner, ast.Name) else ""
        if named in OBJECTS:
            return f"{named}.{node.func.attr}"
        if node.func.attr in CALLBACKS and named not in DEFERREDS:
            return f"{named}.{node.func.attr}"
    return ""


FOUND = list(uses())


def test_what_their_code_raises_is_taken_where_it_is_called():
    assert [use for use in FOUND if not use.taken and use.where not in RELAYS] == []


def test_their_code_is_found_where_it_is_known_to_be():
    places = {use.where for use in FOUND}
    assert {
        "server/calls/dispatcher.py:Dispatcher._dispatch",
        "server/declare/arguments.py:Arguments.bind",
        "server/calls/invocations/inputs.py:Input.receive",
        "server/lifespan.py:Lifespan.enter",
        "clients/conversation/receiving.py:Receiver.receive",
        "balancing/balancer.py:Balancer._ask",
        "interceptors.py:Interception.enter",
        "interceptors.py:Interception.leave",
    } <= places
    assert set(RELAYS) <= places, "a relay is no longer one"


def test_errors_are_logged_where_nothing_is_raised_by_them():
    found = []
    for path in files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and _logs_a_traceback(node):
                found.append(f"{path.relative_to(ROOT)}, line {node.lineno}")
    assert [place for place in found if not place.startswith("logs/errorlog.py")] == []
    assert found


def _logs_a_traceback(call: ast.Call) -> bool:
    named = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    return (
        named == "exception" and len(call.args) > 0 and isinstance(call.args[0], ast.Constant)
    ) or any(word.arg == "exc_info" for word in call.keywords)
