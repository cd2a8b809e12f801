"""A method that runs once for each key: on each backend, on both engines, over several servers, and
whoever is killed.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ringback
from processes import SOON, ServerProcess, eventually
from promises import STYLES, style_of
from proxy import Proxy
from ringback import errors
from ringback.clients.threading import ThreadingClient
from ringback.state import open_state
from sizes import FULL, size
from stores import Valkey

KEPT = Path(__file__).with_name("kept.py")


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where all servers write what has run."""
    file = tmp_path_factory.mktemp("runs") / "ran"
    file.touch()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RINGBACK_TEST_RAN", str(file))
        yield file


@pytest.fixture
def ran(runs: Path) -> Callable[[], list[str]]:
    """`ran()`: what has run since the test began, in whatever server."""
    before = len(runs.read_text().splitlines())
    return lambda: runs.read_text().splitlines()[before:]


@pytest.fixture
def serve(
    start_server: Callable[..., ServerProcess], backend: str, url: str, runs: Path
) -> Callable[..., ServerProcess]:
    """`serve()`: one more server on the test's own store."""
    return lambda **options: start_server(backend, "service", "--state", url, path=KEPT, **options)


@pytest.fixture(scope="session")
def shared_endpoint(
    runs: Path, tmp_path_factory: pytest.TempPathFactory, shared_valkey: Valkey
) -> Iterator[Callable[[str, str], str]]:
    """`shared_endpoint(backend, engine)`: of a server, with a store of its own, that tests share
    which kill nobody.
    """
    servers: dict[tuple[str, str], ServerProcess] = {}

    def endpoint(backend: str, engine: str) -> str:
        if (backend, engine) not in servers:
            file = f"sqlite:///{tmp_path_factory.mktemp('shared') / 'state.db'}"
            url = file if engine == "sqlite" else shared_valkey.url()
            servers[backend, engine] = ServerProcess(backend, "service", "--state", url, path=KEPT)
        return servers[backend, engine].endpoint

    yield endpoint
    try:
        assert {server.stop() for server in servers.values()} <= {0}
    finally:
        for server in servers.values():
            server.kill()


@pytest.fixture(params=["sqlite", "valkey"])
def endpoint(
    request: pytest.FixtureRequest, backend: str, shared_endpoint: Callable[[str, str], str]
) -> str:
    return shared_endpoint(backend, request.param)


@pytest.fixture
def client(endpoint: str, connected: Callable[..., ThreadingClient]) -> ThreadingClient:
    return connected(endpoint)


@pytest.fixture(autouse=True)
def own_keys() -> None:
    """No test sees the keys of another."""
    global _test
    _test = uuid.uuid4().hex


_test = ""


def keyed(client: ThreadingClient, key: str) -> ThreadingClient:
    return client.options(idempotency_key=f"{_test}/{key}")


@pytest.mark.parametrize("method", ["pay", "pay_async"])
def test_a_second_call_with_a_key_gets_the_first_result_and_runs_nothing(client, ran, method):
    assert [keyed(client, "a").call(method, 5) for _ in range(3)] == ["paid 5"] * 3
    assert ran() == ["pay"]


def test_an_error_is_what_came_of_it_too(client, ran):
    for _ in range(3):
        with pytest.raises(errors.RemoteError, match="5 is too much") as raised:
            keyed(client, "a").call("fail", 5)
        assert raised.value.type == "ValueError"
    assert ran() == ["fail"]


@pytest.mark.parametrize("kind", ["SystemExit", "KeyboardInterrupt", "MemoryError"])
@pytest.mark.parametrize("method", ["end", "end_async"])
def test_what_would_end_a_program_is_what_came_of_it_too(client, ran, method, kind):
    for _ in range(3):
        with pytest.raises(errors.RemoteError, match="the end") as raised:
            keyed(client, "a").call(method, kind)
        assert raised.value.type == kind
    assert ran() == ["end"]


def test_the_entries_of_a_map_are_the_same_arguments_in_any_order(client, ran):
    one = {"a": 1, "b": [{"c": 2, "d": "x" * 70_000}, {}], "e": {"f": None, "g": True}}
    other = {"e": {"g": True, "f": None}, "b": [{"d": "x" * 70_000, "c": 2}, {}], "a": 1}
    assert list(one) != list(other)
    assert [keyed(client, "a").call("pay", amount) for amount in (one, other, one)] == [
        "paid dict"
    ] * 3
    with pytest.raises(errors.FailedPrecondition, match="other arguments"):
        keyed(client, "a").call("pay", one | {"a": 2})
    assert ran() == ["pay"]


def test_calls_with_other_keys_run_for_themselves(client, ran):
    assert [keyed(client, key).call("pay", 5) for key in "abc"] == ["paid 5"] * 3
    assert ran() == ["pay"] * 3


def test_one_key_of_two_methods_is_two_keys(client, ran):
    keyed(client, "a").call("pay", 5)
    keyed(client, "a").call("pay_async", 5)
    assert ran() == ["pay"] * 2


def test_a_key_with_other_arguments_is_an_error(client, ran):
    keyed(client, "a").call("pay", 5)
    for other in [6, "5", [5]]:
        with pytest.raises(errors.FailedPrecondition, match="/a' was used with other arguments"):
            keyed(client, "a").call("pay", other)
    assert keyed(client, "a").call("pay", 5) == "paid 5"
    assert ran() == ["pay"]


def test_large_arguments_are_compared_by_what_they_are(client, ran):
    large, other = bytes(200_000), bytes(199_999) + b"x"
    assert keyed(client, "a").call("pay", large) == "paid bytes"
    beside = client.fire("pay", bytes(100_000))  # so that its frame has another number
    assert keyed(client, "a").call("pay", large) == "paid bytes"
    beside.result(SOON)
    with pytest.raises(errors.FailedPrecondition):
        keyed(client, "a").call("pay", other)
    assert ran() == ["pay"] * 2


@pytest.mark.parametrize("method", ["pay", "pay_async"])
def test_duplicates_wait_for_the_first_and_hold_no_worker(client, ran, method):
    twins = [keyed(client, "a").fire(method, 5, 0.5) for _ in range(100)]
    client.options(timeout=5.0).call("counter")
    assert {twin.result(SOON) for twin in twins} == {"paid 5"}
    assert ran() == ["pay"]


def test_two_servers_that_get_a_key_at_once_run_it_once(serve, connected, ran):
    clients = [connected(serve().endpoint) for _ in range(2)]
    for number in range(20):
        twins = [
            keyed(client, f"{number}").fire("pay", number) for client in clients for _ in range(2)
        ]
        assert {twin.result(SOON) for twin in twins} == {f"paid {number}"}
    assert len(ran()) == 20


def test_the_processes_of_a_server_run_a_key_once(start_server, connected, backend, url, ran):
    server = start_server(backend, "service", "--state", url, "--processes", "2", path=KEPT)
    clients: dict[int, ThreadingClient] = {}
    while len(clients) < 2:  # the kernel chooses
        client = connected(server.endpoint)
        clients[client.call("ringback.stats")["process"]] = client
    twins = [
        keyed(client, "a").fire("pay", 5, 0.3) for client in clients.values() for _ in range(4)
    ]
    assert {twin.result(SOON) for twin in twins} == {"paid 5"}
    assert ran() == ["pay"]


def test_another_server_knows_what_came_of_it(serve, connected, ran):
    first = serve()
    keyed(connected(first.endpoint), "a").call("pay", 5)
    assert first.stop() == 0
    assert keyed(connected(serve().endpoint), "a").call("pay", 5) == "paid 5"
    assert ran() == ["pay"]


def test_a_key_is_forgotten_after_its_time(client, ran):
    keyed(client, "a").call("soon_forgotten")
    keyed(client, "a").call("soon_forgotten")
    assert ran() == ["soon forgotten"]

    def ran_again() -> bool:
        keyed(client, "a").call("soon_forgotten")
        return len(ran()) == 2

    eventually(ran_again)


def test_a_run_that_was_cut_is_aborted_for_good(serve, connected, ran):
    server = serve()
    call = keyed(connected(server.endpoint), "a").options(attempts=1).fire("pay", 5, 60.0)
    eventually(ran)
    server.kill()
    with pytest.raises(errors.Unavailable):
        call.result(SOON)
    again = keyed(connected(serve().endpoint), "a")
    for _ in range(2):
        with pytest.raises(errors.Aborted, match="how much of its work was done is unknown"):
            again.call("pay", 5, 60.0)
    assert ran() == ["pay"]


def test_what_may_be_repeated_is_run_again_after_a_cut(serve, connected, ran):
    server = serve()
    keyed(connected(server.endpoint), "a").options(attempts=1).fire("repeatable", 1.0)
    eventually(ran)
    server.kill()
    assert keyed(connected(serve().endpoint), "a").call("repeatable", 1.0) == "done"
    assert ran() == ["repeatable"] * 2


@pytest.mark.parametrize("method", ["pay", "pay_async"])
def test_a_lost_connection_cuts_no_run(endpoint, connected, ran, method):
    with Proxy(endpoint) as between:
        lost = keyed(connected(between.endpoint), "a").options(attempts=1).fire(method, 5, 0.5)
        eventually(ran)
        between.cut()
        with pytest.raises(errors.Unavailable):
            lost.result(SOON)
    assert keyed(connected(endpoint), "a").call(method, 5, 0.5) == "paid 5"
    assert ran() == ["pay"]


def test_a_result_that_is_too_large_for_who_asks_again_is_told_as_that(endpoint, connected, client):
    assert len(keyed(client, "a").call("large", 300_000)) == 300_000
    small = connected(endpoint, max_size=100_000)
    with pytest.raises(errors.ResourceExhausted, match="the result of large is too large"):
        keyed(small, "a").call("large", 300_000)
    assert keyed(client, "a").call("large", 300_000) == bytes(300_000)


def test_a_coroutine_that_is_cancelled_was_cut(client, ran):
    call = keyed(client, "a").fire("pay_async", 5, 60.0)
    eventually(ran)
    call.cancel()
    with pytest.raises(errors.Aborted):
        keyed(client, "a").call("pay_async", 5, 60.0)


def test_a_function_whose_caller_gave_up_leaves_its_result_to_the_next(client, backend, ran):
    if backend == "gevent":
        pytest.skip("a greenlet is stopped")
    client.call("ringback.ping")
    with pytest.raises(errors.DeadlineExceeded):
        keyed(client, "a").options(timeout=0.2).call("pay", 5, 0.6)
    assert keyed(client, "a").call("pay", 5, 0.6) == "paid 5"
    assert ran() == ["pay"]


def test_what_is_written_and_what_came_of_it_are_one(serve, connected, opened, url):
    with pytest.raises(errors.RemoteError):
        keyed(connected(serve().endpoint), "a").call("fail_half_way")
    assert opened(url).get("half") is None


def test_who_is_overtaken_does_it_again(client):
    before = client.call("counter")
    calls = [client.fire(method) for _ in range(30) for method in ("increment", "increment_async")]
    assert sorted(call.result(SOON) - before for call in calls) == list(range(1, 61))


def test_what_comes_of_a_future_is_the_result(client):
    assert [keyed(client, "a").call("promised", 7) for _ in range(2)] == [7, 7]


def test_cancels_at_any_moment_leave_no_key_that_nobody_works_on(client):
    """Whoever asks again gets an answer: a result, or that the run was cut."""
    for number in range(100):
        method = ("increment", "increment_async", "pay", "pay_async")[number % 4]
        call = keyed(client, f"{number}").fire(method, 1)
        time.sleep(random.uniform(0.0, 0.004))
        call.cancel()
    for number in range(100):
        method = ("increment", "increment_async", "pay", "pay_async")[number % 4]
        assert until_known(keyed(client, f"{number}").options(timeout=SOON), method) in (
            "done",
            "Aborted",
        )


def test_there_is_no_transaction_without_a_key(client):
    with pytest.raises(errors.FailedPrecondition, match="once=True"):
        client.call("transaction_without_a_key")


def test_a_call_without_a_key_is_refused(client, ran):
    client.call("counter")
    client._shared.core.machine.links[
        0
    ].once = frozenset()  # as a client of another make, which sends none
    with pytest.raises(errors.InvalidArgument, match="give an idempotency key"):
        client.call("pay", 5)
    assert ran() == []


@pytest.mark.parametrize("style", STYLES)
def test_every_client_style_gives_each_call_a_key_of_its_own(endpoint, ran, style):
    style = style_of(style)

    def script():
        client = style.connect(endpoint)
        for _ in range(2):
            assert (yield client.call("pay", 5)) == "paid 5"
            assert (yield client.fire("pay", 5)) == "paid 5"
        yield client.close()

    style.run(script)
    assert len(ran()) == 4


def test_a_one_way_call_has_a_key_too(client, ran):
    client.notify("pay", 5)
    eventually(ran)


@pytest.mark.timeout(size(60, 1800))
def test_increments_under_kills_are_made_exactly_once(serve, connected, opened, url, capsys):
    """The client sends them again by itself, and its caller where that was not enough."""
    counted, killed, outcomes = hammered(
        serve, connected, "increment", size(400, 10_000), size(4, 40)
    )
    assert outcomes == {"done": counted}
    assert opened(url).get("counter") == counted
    if FULL:
        with capsys.disabled():
            print(
                f"\n{url.partition(':')[0]}: {counted:,} increments under {killed} kills: the "
                f"counter says {counted:,}"
            )


@pytest.mark.timeout(size(60, 1800))
def test_what_no_transaction_takes_back_is_done_once_or_aborted(serve, connected, ran, url, capsys):
    counted, killed, outcomes = hammered(serve, connected, "pay", size(400, 10_000), size(4, 40))
    times = len(ran())
    assert times <= counted, "one ran twice"
    assert outcomes["done"] <= times
    assert counted - outcomes["done"] == outcomes["Aborted"]
    if FULL:
        with capsys.disabled():
            print(
                f"\n{url.partition(':')[0]}: {counted:,} payments under {killed} kills: {times:,} "
                f"ran, "
                f"{outcomes['Aborted']:,} were reported as Aborted"
            )


def hammered(
    serve, connected, method: str, least: int, kills: int
) -> tuple[int, int, Counter[str]]:
    """Eight callers of two servers, of which one after the other is killed and replaced: so many
    calls at least, and so many kills.
    """
    servers = [serve(), serve()]
    binds = [(server.endpoint,) for server in servers]
    client = connected(*(server.endpoint for server in servers))
    outcomes: Counter[str] = Counter()
    numbers = itertools.count()
    killed = threading.Event()

    def work() -> None:
        while (number := next(numbers)) < least or not killed.is_set():
            outcomes[until_known(keyed(client, f"{number}"), method)] += 1

    callers = [threading.Thread(target=work) for _ in range(8)]
    for caller in callers:
        caller.start()
    for number in range(kills):
        time.sleep(random.uniform(0.05, 0.3))
        servers[number % 2].kill()
        servers[number % 2] = serve(bind=binds[number % 2])
    killed.set()
    for caller in callers:
        caller.join()
    return outcomes.total(), kills, outcomes


def until_known(client, method: str) -> str:
    """Ask again, with the same key, until it is known what came of it."""
    while True:
        try:
            client.call(method, 1)
        except errors.Unavailable:
            continue
        except errors.CallError as error:
            return type(error).__name__
        return "done"


def test_a_store_that_is_away_is_unavailable_and_comes_back_by_itself(
    start_server, connected, backend, valkey, ran
):
    server = start_server(backend, "service", "--state", valkey.url(), path=KEPT)
    client = connected(server.endpoint)
    assert client.call("increment") == 1
    valkey.kill()
    with pytest.raises(errors.Unavailable, match="does not answer"):
        client.options(timeout=5.0).call("increment")
    valkey.start()
    eventually(lambda: answers(client))
    value = client.call("counter")
    assert client.call("increment") == value + 1


def answers(client) -> bool:
    try:
        client.call("increment")
    except errors.Unavailable:
        return False
    return True


def test_a_method_that_runs_once_needs_a_store(run_program):
    ran = run_program("-m", "ringback", "serve", f"{KEPT}:service", "--bind", "tcp://127.0.0.1:*")
    assert ran.status == 3
    assert "needs a state store: give the server one, such as --state sqlite:///state.db" in ran.err


@pytest.mark.parametrize(
    "options",
    [
        {"once": float("inf")},
        {"inline": True},
        {"executor": "process"},
        {"once": 0},
        {"once": "always"},
    ],
    ids=str,
)
def test_what_cannot_run_once_is_refused_when_it_is_declared(options):
    service = ringback.Service("refused")
    with pytest.raises(ringback.errors.UsageError, match="once"):
        service.method(**{"once": True, **options})(lambda: None)


def test_no_stream_runs_once():
    service = ringback.Service("refused")

    def numbers():
        yield 1

    with pytest.raises(ringback.errors.UsageError, match="once"):
        service.method(once=True)(numbers)


def test_open_state_is_there_for_everyone():
    assert ringback.open_state is open_state
