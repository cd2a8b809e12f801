"""The other libraries: each one's real server, called by its own client in its own way of waiting,
every reply checked.

With a name and an address it is the program that calls under gevent, which has to patch before
anything is imported.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import ModuleType
from typing import Any

import pytest
from ringback.compare import peers
from ringback.compare.run.processes import Child
from ringback.compare.scenario import Call, Script, WrongReply
from ringback.compare.workloads import table as workloads
from ringback.errors import UsageError

LIBRARIES = {
    "pyzmq": "zmq",
    "zerorpc": "zerorpc",
    "rpyc": "rpyc",
    "grpc": "grpc",
    "grpc-aio": "grpc",
}
CALLERS = 8
CALLS = 20
STEPS = 100
SOON = 15.0

every_peer = pytest.mark.parametrize("name", LIBRARIES)


def script(method: str, caller: int) -> Script:
    """The calls of one caller, which raises at a reply that is not its own."""
    numbers = iter(range(caller * CALLS, (caller + 1) * CALLS))
    return workloads.WORKLOADS[method].script(numbers, STEPS)


def answer(calls: Script, reply: Any) -> Call | None:
    """Have the reply checked; the call after it, or None behind the last."""
    try:
        return calls.send(reply)
    except StopIteration:
        return None


def fire_all(client: Any, method: str, over: Callable[[], object]) -> list[BaseException]:
    """Each caller fires its next call from the callback of the last.

    What was wrong is in the list by `over`.
    """
    wrong: list[BaseException] = []
    callers = CALLERS

    def end() -> None:
        nonlocal callers
        callers -= 1
        if not callers:
            over()

    def fire(calls: Script, call: Call | None) -> None:
        if call is None:
            end()
            return
        client.fire(call.method, *call.args, callback=partial(replied, calls), errback=failed)

    def failed(error: BaseException) -> None:
        wrong.append(error)
        end()

    def replied(calls: Script, reply: Any) -> None:
        try:
            call = answer(calls, reply)
        except WrongReply as error:
            failed(error)
        else:
            fire(calls, call)

    for caller in range(CALLERS):
        calls = script(method, caller)
        fire(calls, next(calls))
    return wrong


def call_from_threads(peer: ModuleType, address: str) -> None:
    """Which are greenlets under gevent."""
    client = peer.connect(address)
    for method in peer.METHODS:
        together = threading.Barrier(CALLERS)

        def caller(
            number: int, method: str = method, together: threading.Barrier = together
        ) -> int:
            together.wait(SOON)
            calls, made = script(method, number), 0
            call: Call | None = next(calls)
            while call is not None:
                call, made = answer(calls, client.call(call.method, *call.args)), made + 1
            return made

        with ThreadPoolExecutor(CALLERS) as pool:
            assert list(pool.map(caller, range(CALLERS))) == [CALLS] * CALLERS
        if hasattr(client, "fire"):
            over = threading.Event()
            wrong = fire_all(client, method, over.set)
            assert over.wait(SOON)
            assert wrong == []
    client.close()


async def call_from_tasks(peer: ModuleType, address: str) -> None:
    client = peer.connect(address)
    for method in peer.METHODS:

        async def caller(number: int, method: str = method) -> int:
            calls, made = script(method, number), 0
            call: Call | None = next(calls)
            while call is not None:
                call, made = answer(calls, await client.call(call.method, *call.args)), made + 1
            return made

        async with asyncio.timeout(SOON):
            assert await asyncio.gather(*map(caller, range(CALLERS))) == [CALLS] * CALLERS
        if hasattr(client, "fire"):
            over = asyncio.Event()
            wrong = fire_all(client, method, over.set)
            async with asyncio.timeout(SOON):
                await over.wait()
            assert wrong == []
    await client.close()


@every_peer
def test_every_call_of_every_caller_gets_its_own_reply(
    name: str, run_program: Callable[..., Any]
) -> None:
    pytest.importorskip(LIBRARIES[name])
    with Child("ringback.compare.peers", name, str(CALLERS)) as server:
        ready, address = server.line(SOON).decode().split()
        assert ready == "ready"
        assert address.startswith("127.0.0.1:")
        if name == "zerorpc":
            ran = run_program(__file__, name, address)
            assert ran.status == 0, ran
            assert ran.err == ""
        else:
            peer = peers.load(name)
            assert peer.LOOP in ("threading", "asyncio")
            if peer.LOOP == "threading":
                call_from_threads(peer, address)
            else:
                asyncio.run(call_from_tasks(peer, address))
        assert server.end() is None
        server.stop()
        assert server.end() == "ended by signal 15 (Terminated)"


@every_peer
def test_a_peer_says_what_it_is(name: str, run_program: Callable[..., Any]) -> None:
    pytest.importorskip(LIBRARIES[name])
    show = (
        f"from ringback.compare.peers import load; p = load({name!r}); print(p.LOOP, *p.METHODS); "
        f"print(p.DIFFERENCE)"
    )
    ran = run_program("-c", show)
    assert ran.status == 0, ran
    said, difference = ran.lines
    loop, *methods = said.split()
    assert loop in ("threading", "gevent", "asyncio")
    assert methods == (["echo"] if name == "pyzmq" else ["echo", "io", "cpu"])
    assert difference


def test_the_peers_are_named_in_the_order_of_the_report() -> None:
    assert peers.NAMES == ("pyzmq", "zerorpc", "rpyc", "grpc", "grpc-aio")


def test_a_library_that_is_not_installed_is_told_in_one_line_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "ringback.compare.peers.rpyc", raising=False)
    monkeypatch.setitem(sys.modules, "rpyc", None)
    with pytest.raises(UsageError) as caught:
        peers.load("rpyc")
    assert (
        str(caught.value)
        == "the peer rpyc needs rpyc: install it with pip install 'ringback[peers]'"
    )
    assert "rpyc" not in peers.installed()


def test_a_peer_that_does_not_exist_is_told_with_those_that_do() -> None:
    with pytest.raises(
        UsageError, match=r"no peer 'corba': choose one of pyzmq, zerorpc, rpyc, grpc, "
    ):
        peers.load("corba")


def test_to_look_for_what_is_installed_imports_none_of_it(run_program: Callable[..., Any]) -> None:
    look = (
        "import sys; from ringback.compare import peers; print(*peers.installed()); "
        "print(*sys.modules)"
    )
    ran = run_program("-c", look)
    assert ran.status == 0, ran
    found, imported = (set(line.split()) for line in ran.lines)
    assert found <= set(LIBRARIES)
    assert not set(LIBRARIES.values()) & imported


if __name__ == "__main__":
    call_from_threads(peers.load(sys.argv[1]), sys.argv[2])
