"""`ringback.testing`: servers and clients for the tests of users, in every combination that can be,
and a word at once for every other.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import ringback
from processes import SOON, eventually
from ringback import errors
from ringback.errors import UsageError
from ringback.testing import call_context, serving
from served import Life


@pytest.mark.parametrize("client", ["threading", "gevent"])
def test_a_blocking_client_calls_a_server_on_any_loop(backend: str, client: str) -> None:
    life = Life()
    for _ in range(2):  # one after the other
        with serving(life.service, backend, client) as connected:
            assert connected.call("add", 1, 2) == 3
            assert connected.call("app") == 42
            assert connected.fire("add", 2, 3).result(SOON) if client == "threading" else True
            assert connected.server.backend == backend
            assert life.told[-1] == "began"
        assert life.told[-1] == "ended"
    assert life.told == ["began", "ended"] * 2


def test_an_asyncio_client_calls_a_server_on_any_loop(backend: str) -> None:
    life = Life()

    async def main() -> None:
        for _ in range(2):
            async with serving(life.service, backend, client="asyncio") as connected:
                assert await connected.call("add", 1, 2) == 3
                assert await connected.call("app") == 42
            assert life.told[-1] == "ended"

    asyncio.run(main())


ON_TWISTED = """
import sys
from ringback.testing import serving
from served import Life
from twisted.internet import task
from twisted.internet.defer import ensureDeferred

async def main():
    life = Life()
    for _ in range(2):
        async with serving(life.service, sys.argv[1], client="twisted") as client:
            assert await client.call("add", 1, 2) == 3
        assert life.told[-1] == "ended"
    try:
        with serving(life.service, "twisted"):
            pass
    except Exception as error:
        print(error)
    try:
        async with serving(life.service, client="asyncio"):
            pass
    except Exception as error:
        print(error)

task.react(lambda reactor: ensureDeferred(main()))
"""


def test_a_client_on_the_reactor_calls_a_server_on_any_loop(
    backend: str, run_program, monkeypatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(__file__).rpartition("/")[0])
    ran = run_program("-c", ON_TWISTED, backend)
    assert ran.status == 0, ran
    assert ran.lines == [
        (
            "the reactor runs in this thread, and a `with` would block it: write `async with "
            "serving(..., client='twisted')`"
        ),
        "client='asyncio' needs a running asyncio loop, as in asyncio.run()",
    ]


PATCHED = """
from gevent import monkey
monkey.patch_all()
from ringback.testing import serving
from served import Life

life = Life()
with serving(life.service, "gevent", "gevent") as client:
    print(client.call("add", 1, 2))
for backend, client in [("gevent", "threading"), ("asyncio", "gevent")]:
    try:
        with serving(life.service, backend, client):
            pass
    except Exception as error:
        print(error)
"""


ON_ASYNCIOREACTOR = """
import asyncio
import sys
from twisted.internet import asyncioreactor

asyncioreactor.install(asyncio.new_event_loop())
from ringback.testing import serving
from served import Life
from twisted.internet import task
from twisted.internet.defer import ensureDeferred

async def main():
    life = Life()
    for _ in range(2):
        async with serving(life.service, sys.argv[1], client="twisted") as client:
            assert await client.call("add", 1, 2) == 3
        assert life.told[-1] == "ended"

task.react(lambda reactor: ensureDeferred(main()))
"""


def test_a_client_on_the_reactor_of_asyncio_calls_a_server_on_any_loop(
    backend: str, run_program, monkeypatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(__file__).rpartition("/")[0])
    ran = run_program("-c", ON_ASYNCIOREACTOR, backend)
    assert ran.status == 0, ran


def test_a_reactor_that_does_not_run_is_none(run_program) -> None:
    program = (
        "import asyncio, ringback\nfrom twisted.internet import reactor\nfrom ringback.testing "
        "import serving\n"
        "async def main():\n    async with serving(ringback.Service('a'), 'twisted', "
        "client='twisted'):\n        pass\n"
        "try:\n    asyncio.run(main())\nexcept Exception as error:\n    print(error)\n"
    )
    assert run_program("-c", program).lines == [
        "client='twisted' needs the reactor to run in this thread"
    ]


def test_the_fixture_loads_no_server_before_it_is_used(run_program) -> None:
    ran = run_program(
        "-c",
        "import sys, ringback.testing.plugin; print('ringback.server' in sys.modules, 'asyncio' "
        "in sys.modules)",
    )
    assert ran.lines == ["False False"]


def test_a_program_that_gevent_has_patched_serves_on_gevent(run_program, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(__file__).rpartition("/")[0])
    ran = run_program("-c", PATCHED)
    assert ran.status == 0, ran
    assert ran.lines == [
        "3",
        "gevent has patched this program: give client='gevent'",
        "gevent has patched this program: give backend='gevent'",
    ]


def enter(**options: object) -> None:
    with serving(Life().service, **options):  # type: ignore[arg-type]
        pass


def enter_async(**options: object) -> None:
    async def main() -> None:
        async with serving(Life().service, **options):  # type: ignore[arg-type]
            pass

    asyncio.run(main())


@pytest.mark.parametrize(
    ("how", "options", "says"),
    [
        (enter, {"client": "asyncio"}, "a client on asyncio is awaited: write `async with"),
        (enter, {"client": "twisted"}, "a client on twisted is awaited: write `async with"),
        (enter, {"client": "trio"}, "there is no client 'trio': choose one of threading"),
        (enter, {"backend": "trio"}, "there is no backend 'trio'"),
        (enter, {"max_size": 1}, "max_size must be a whole number of bytes"),
        (enter, {"bind": "tcp://host"}, "bad endpoint 'tcp://host'"),
        (enter_async, {}, "a client on threading would block the loop of an `async with`"),
        (enter_async, {"client": "gevent"}, "a client on gevent would block the loop"),
        (
            enter_async,
            {"client": "twisted"},
            "client='twisted' needs the reactor to run in this thread",
        ),
    ],
)
def test_what_cannot_be_is_told_at_once(how, options: dict[str, object], says: str) -> None:
    begun = time.monotonic()
    with pytest.raises(UsageError, match=says):
        how(**options)
    assert time.monotonic() - begun < 1.0


@pytest.mark.parametrize("client", ["threading", "asyncio"])
def test_a_server_that_cannot_start_leaves_nothing(backend: str, client: str) -> None:
    service = ringback.Service("broken")

    @service.lifespan
    def life() -> Iterator[None]:
        raise KeyError("db")
        yield

    before = threading.active_count()
    for _ in range(2):
        with pytest.raises(KeyError, match="db"):
            (enter_of if client == "threading" else enter_async_of)(service, backend)
    deadline = time.monotonic() + SOON
    while threading.active_count() > before + 2:  # the reactor's, and an executor's
        assert time.monotonic() < deadline
        time.sleep(0.01)


def enter_of(service: ringback.Service, backend: str) -> None:
    with serving(service, backend):
        pass


def enter_async_of(service: ringback.Service, backend: str) -> None:
    async def main() -> None:
        async with serving(service, backend, client="asyncio"):
            pass

    asyncio.run(main())


WRONG: Any = {"nosuch": 1}


def test_a_client_that_cannot_be_ends_the_server(backend: str) -> None:
    life = Life()
    with pytest.raises(TypeError, match="nosuch"), serving(life.service, backend, connect=WRONG):
        pass
    assert life.told == ["began", "ended"]


def test_an_asyncio_client_that_cannot_be_ends_the_server(backend: str) -> None:
    life = Life()

    async def main() -> None:
        async with serving(life.service, backend, client="asyncio", connect=WRONG):
            pass

    with pytest.raises(TypeError, match="nosuch"):
        asyncio.run(main())
    assert life.told == ["began", "ended"]


def test_who_is_cancelled_while_a_server_starts_leaves_none(backend: str) -> None:
    life, goes_on = Life(), threading.Event()

    @life.service.lifespan
    def slow() -> Iterator[None]:
        goes_on.wait(SOON)
        life.told.append("began")
        yield
        life.told.append("ended")

    async def main() -> None:
        async with asyncio.timeout(0.2):
            async with serving(life.service, backend, client="asyncio"):
                pass

    if backend == "asyncio":
        pytest.skip("its lifespan blocks the loop that would cancel")
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert time.monotonic() - begun < SOON / 2
    goes_on.set()
    eventually(lambda: life.told == ["began", "ended"])


def test_what_the_block_raises_comes_out_of_it(backend: str) -> None:
    life = Life()
    with pytest.raises(ZeroDivisionError), serving(life.service, backend):
        raise ZeroDivisionError
    assert life.told == ["began", "ended"]


def test_options_are_those_of_servers_and_clients(backend: str, tmp_path) -> None:
    service = ringback.Service("notes", needs_state=True)

    @service.method(once=True)
    def note(text: str) -> int:
        transaction = ringback.current_call().transaction
        count = (transaction.get("count") or 0) + 1
        transaction.put("count", count)
        return count

    with serving(service, backend, state="memory://", connect={"timeout": 5.0}) as client:
        for _ in range(2):
            assert client.options(idempotency_key="a").call("note", "x") == 1
        assert client.options(idempotency_key="b").call("note", "x") == 2
    with serving(service, backend, state="memory://") as client:  # another store
        assert client.options(idempotency_key="a").call("note", "x") == 1


@pytest.mark.parametrize(
    "options", [{"bind": "tcp://127.0.0.1:*"}, {"transport": "libzmq"}], ids=str
)
def test_a_server_may_be_reached_over_tcp(backend: str, options: dict[str, str]) -> None:
    connect = {name: value for name, value in options.items() if name == "transport"}
    with serving(Life().service, backend, connect=connect, **options) as client:  # type: ignore[arg-type]
        assert client.server.endpoint.startswith("tcp://127.0.0.1:")
        with ringback.connect(client.server.endpoint) as other:
            assert other.call("add", 1, 2) == client.call("add", 1, 2) == 3


def test_a_call_has_a_context_without_a_server() -> None:
    def handler() -> tuple[object, ...]:
        call = ringback.current_call()
        return call.method, call.metadata, call.user, call.app, call.remaining()

    with call_context(method="m", metadata={"tenant": 7}, user="ada", app="db") as call:
        assert handler() == ("m", {"tenant": 7}, "ada", "db", None)
        assert call is ringback.current_call()
        with call_context(deadline=time.monotonic() + 5):
            assert 4 < handler()[-1] <= 5  # type: ignore[operator]
        assert handler()[0] == "m"
    with pytest.raises(RuntimeError, match="outside a handler"):
        handler()


def test_a_call_made_in_a_context_inherits_its_deadline() -> None:
    with serving(Life().service) as client:
        assert client.call("add", 1, 2) == 3
        with call_context(deadline=time.monotonic() - 1), pytest.raises(errors.DeadlineExceeded):
            client.call("add", 1, 2)


def test_the_store_of_a_context_is_opened_and_closed() -> None:
    with call_context(state="memory://notes") as call:
        call.state.put("a", 1)
        assert call.state.get("a") == 1
        with ringback.open_state("memory://notes", create=False) as same:
            assert same.get("a") == 1
    with pytest.raises(UsageError, match="there is no state store memory://notes in this process"):
        ringback.open_state("memory://notes", create=False)
    with pytest.raises(UsageError, match="state must be a State or a URL"), call_context(state=1):  # type: ignore[arg-type]
        pass


OF_A_USER = """
import asyncio
import pytest
import ringback

service = ringback.Service("calc")

@service.method
def add(a: int, b: int) -> int:
    return a + b

@pytest.mark.parametrize("loop", ["asyncio", "gevent", "threading", "twisted"])
def test_add(ringback_serving, loop):
    with ringback_serving(service, loop) as client:
        assert client.call("add", 1, 2) == 3

def test_wrong(ringback_serving):
    async def main():
        async with ringback_serving(service, client="asyncio") as client:
            with pytest.raises(ringback.errors.InvalidArgument):
                await client.call("add", 1, "two")
    asyncio.run(main())
"""


def test_a_users_test_file_runs_on_all_loops(run_program, tmp_path) -> None:
    (tmp_path / "test_calc.py").write_text(OF_A_USER)
    ran = run_program(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:twisted", "test_calc.py"
    )
    assert ran.status == 0, ran
    assert "5 passed" in ran.out
