"""Every kind of handler on every backend: where it runs, what it may return, and what it never
delays.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import ringback
from processes import ServerProcess
from ringback import errors


@pytest.fixture
def server(backend: str, running_server: Callable[..., ServerProcess]) -> ServerProcess:
    return running_server(backend)


@pytest.fixture
def client(server: ServerProcess, connected):
    return connected(server.endpoint)


KINDS = {
    "a def in a worker": ("echo.worker", "x", "x"),
    "an inline def": ("echo", "x", "x"),
    "a coroutine": ("echo_async", "x", "x"),
    "a def that returns a concurrent future": ("future", 1, 2),
    "an inline def that returns a concurrent future": ("future_inline", 1, 2),
}
STREAMS = {
    "a generator": "count",
    "an async generator": "count_async",
    "an inline generator": "count_inline",
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, backend: str) -> str:
    if backend == "gevent" and KINDS[request.param][0] == "future_inline":
        pytest.skip("a pool that gevent has patched may block, which an inline def must not")
    return request.param


def test_a_handler_answers(client, kind: str) -> None:
    method, given, expected = KINDS[kind]
    assert client.call(method, given) == expected


def test_a_handler_answers_a_burst(client, kind: str) -> None:
    method, given, expected = KINDS[kind]
    futures = [client.fire(method, given) for _ in range(300)]
    assert [future.result(30) for future in futures] == [expected] * 300


@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_has_all_its_items(client, kind: str) -> None:
    assert list(client.stream(STREAMS[kind], 500)) == list(range(500))


def test_a_concurrent_future_that_fails_is_an_error(client) -> None:
    with pytest.raises(errors.RemoteError, match="the future failed") as caught:
        client.call("failing_future")
    assert caught.value.type == "LookupError"


def test_an_inline_def_may_return_what_its_loop_waits_for(backend: str, client) -> None:
    method = {"asyncio": "awaitable", "twisted": "deferred"}.get(backend)
    if method is None:
        pytest.skip("for asyncio and Twisted")
    assert client.call(method, 1) == 2
    futures = [client.fire(method, number) for number in range(100)]
    assert [future.result(10) for future in futures] == list(range(1, 101))


def test_a_deferred_that_fails_is_an_error(backend: str, client) -> None:
    if backend != "twisted":
        pytest.skip("for Twisted")
    with pytest.raises(errors.RemoteError, match="the Deferred failed"):
        client.call("failing_deferred")


def test_a_native_coroutine_awaits_deferreds_on_the_reactor(backend: str, client) -> None:
    if backend != "twisted":
        pytest.skip("for Twisted")
    assert client.call("native", 1) == 2


def test_a_native_coroutine_gets_the_items_of_an_argument(backend: str, client) -> None:
    if backend != "twisted":
        pytest.skip("for Twisted")
    assert client.call("sum_native", iter(range(1000))) == sum(range(1000))


def test_a_native_coroutine_that_is_cancelled_ends_at_the_server(backend: str, client) -> None:
    if backend != "twisted":
        pytest.skip("for Twisted")
    client.call("ringback.ping")
    with pytest.raises(errors.DeadlineExceeded):
        client.options(timeout=0.2).call("native_hold", "native")
    end = time.monotonic() + 10
    while client.call("marks", "native") != ["began", "cancelled"]:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_blocking_handler_never_delays_inline_calls(backend: str, client) -> None:
    method = "block_in_thread" if backend == "gevent" else "work"
    blocked = [client.fire(method, 0.8) for _ in range(4)]
    slowest = 0.0
    while not all(future.done() for future in blocked):
        start = time.monotonic()
        assert client.call("echo", 1) == 1
        slowest = max(slowest, time.monotonic() - start)
    assert slowest < 0.4
    for future in blocked:
        future.result()


def test_blocking_handlers_run_side_by_side(client) -> None:
    start = time.monotonic()
    futures = [client.fire("work", 0.5) for _ in range(16)]
    assert [future.result(30) for future in futures] == [0.5] * 16
    assert time.monotonic() - start < 2.5


def test_the_thread_of_a_handler_is_its_kinds(client) -> None:
    loop = client.call("where")
    assert client.call("block_in_thread", 0.0) != loop


def test_an_inline_handler_that_blocks_is_logged_with_its_name(
    server: ServerProcess, client
) -> None:
    client.call("block_inline", 0.5)
    assert server.logged("block_inline has blocked the event loop")


@pytest.mark.parametrize("method", ["facts", "facts_inline", "facts_async", "facts_stream"])
def test_a_handler_knows_its_call(client, method: str) -> None:
    view = client.options(timeout=9, priority=4, metadata={"a": 1})
    facts = next(view.stream(method)) if method == "facts_stream" else view.call(method)
    assert facts["method"] == method
    if method == "facts_stream":
        assert (
            facts["remaining"] is None
        )  # for a stream the timeout is that of the gap between items
    else:
        assert 0 < facts["remaining"] <= 9
    assert (facts["metadata"], facts["priority"], facts["app"]) == ({"a": 1}, 4, None)
    assert "127.0.0.1" in facts["peer"]


def test_the_current_call_is_asked_for_in_vain_outside_a_handler() -> None:
    with pytest.raises(RuntimeError, match=r"outside a handler.*call the method through a server"):
        ringback.current_call()


@pytest.mark.parametrize("service", ["living", "living_async"])
def test_a_lifespan_surrounds_serving_and_its_value_is_the_app(
    backend: str, start_server, connected, service: str
) -> None:
    server = start_server(backend, service)
    client = connected(server.endpoint)
    for method in ("facts", "facts_inline", "facts_async"):
        assert client.call(method)["app"]["database"] == "open"
    if service == "living" and backend != "gevent":  # where get_ident tells the greenlet
        assert client.call("facts")["app"]["thread"] == client.call("where")
    assert server.printed[0] == "lifespan: begins"
    client.close()
    assert server.stop() == 0
    assert server.process.stdout is not None
    assert server.process.stdout.read().decode().splitlines() == ["lifespan: ends"]


def test_a_lifespan_that_fails_stops_the_start_with_one_line(
    backend: str, run_program, tmp_path
) -> None:
    (tmp_path / "broken.py").write_text(
        "import ringback\n"
        "service = ringback.Service('broken')\n"
        "@service.lifespan\n"
        "def resources():\n"
        "    raise OSError('no database')\n"
        "    yield\n"
    )
    command = ("-m", "ringback.server", "broken.py:service", "--backend", backend)
    ran = run_program(*command, "--bind", "tcp://127.0.0.1:*")
    assert ran.status != 0
    assert ran.out == ""
    assert "no database" in ran.err


def test_the_timeout_of_a_method_bounds_its_calls(client) -> None:
    key = f"limited {time.monotonic()}"
    start = time.monotonic()
    with pytest.raises(errors.DeadlineExceeded):
        client.call("limited", key)
    assert time.monotonic() - start < 1.0
    while client.call("marks", key) != ["began", "cancelled"]:
        assert time.monotonic() - start < 10
        time.sleep(0.01)


# What cannot be registered


def _named(name: str) -> Callable[..., None]:
    def function() -> None: ...

    function.__name__ = name
    return function


def test_parameters_that_belong_to_fire_are_refused() -> None:
    service = ringback.Service("s")
    for function in (lambda callback: None, lambda *, errback=None: None):
        with pytest.raises(errors.UsageError, match=r"client\.fire"):
            service.method(name="m")(function)


def test_reserved_names_are_refused() -> None:
    service = ringback.Service("s")
    with pytest.raises(errors.UsageError, match="are reserved"):
        service.method(name="ringback.mine")(_named("mine"))


def test_a_second_method_of_one_name_is_refused() -> None:
    service = ringback.Service("s")
    service.method(_named("once"))
    with pytest.raises(errors.UsageError, match="already"):
        service.method(_named("once"))


def test_options_that_do_not_fit_the_kind_are_refused() -> None:
    service = ringback.Service("s")

    async def coroutine() -> None: ...

    for function, options in (
        (coroutine, {"inline": True}),
        (_named("m"), {"native": True}),
        (_named("m"), {"executor": "fibre"}),
        (_named("m"), {"timeout": 0}),
        (_named("m"), {"timeout": -1}),
        (5, {}),
    ):
        with pytest.raises(errors.UsageError):
            service.method(name="m", **options)(function)
    with pytest.raises(TypeError):
        service.method(name="m", no_such_option=1)(_named("m"))


def test_a_service_needs_a_name() -> None:
    for name in ("", None, 5):
        with pytest.raises(errors.UsageError, match="name"):
            ringback.Service(name)  # type: ignore[arg-type]


def test_an_interceptor_that_is_no_generator_function_is_refused() -> None:
    with pytest.raises(errors.UsageError, match="generator function"):
        ringback.Service("s").use(lambda call: None)


WRONG_SERVICE = """
import ringback

class Point: ...
class Other: ...

service = ringback.Service("wrong")

@service.method
def bad(value: {annotation}): return value
"""


@pytest.mark.parametrize(
    "annotation", ["'NoSuchType'", "Point | Other"], ids=["unknown", "uncheckable"]
)
def test_a_bad_annotation_stops_the_start_with_one_line(
    backend: str, run_program, tmp_path, annotation: str
) -> None:
    (tmp_path / "wrong.py").write_text(WRONG_SERVICE.format(annotation=annotation))
    command = ("-m", "ringback.server", "wrong.py:service", "--backend", backend)
    ran = run_program(*command, "--bind", "tcp://127.0.0.1:*")
    assert ran.status == 3
    assert ran.out == ""
    assert len(ran.err.splitlines()) == 1, ran.err
    assert "'bad'" in ran.err
