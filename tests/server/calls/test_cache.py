"""Methods with `cache=`, seen through real servers: what is kept, one run for all who ask, what is
stale, and what is invalidated.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import ringback
from processes import SOON, eventually
from ringback import errors

SERVICE = Path(__file__).with_name("keeping.py")

KINDS = ["plain", "inline", "coroutine"]
GATED = ["gated", "gated_coroutine"]


@pytest.fixture
def server(start_server, backend):
    return start_server(backend, path=SERVICE)


@pytest.fixture
def client(server, connected):
    return connected(server.endpoint)


def counts(client, method: str) -> dict[str, int]:
    return client.call("ringback.stats")["methods"][method]["cache"]


def waiting(client, method: str, many: int) -> None:
    """Until so many calls share one run."""
    eventually(lambda: counts(client, method)["shared"] == many)


def begun(client, key: str, number: int = 1) -> None:
    eventually(lambda: client.call("runs", key) == number)


@pytest.mark.parametrize("method", KINDS)
def test_a_second_call_with_the_same_arguments_does_not_run(client, method):
    assert [client.call(method, "a"), client.call(method, "a")] == [1, 1]


@pytest.mark.parametrize("method", KINDS)
def test_other_arguments_are_another_key(client, method):
    assert [client.call(method, "a", 1), client.call(method, "a", 2)] == [1, 2]


def test_the_order_of_named_arguments_makes_no_other_key(client):
    assert client.call("plain", key="a", other=1) == client.call("plain", other=1, key="a") == 1


def test_what_one_client_asked_for_is_the_answer_to_another(client, server, connected):
    client.call("plain", "a")
    assert connected(server.endpoint).call("plain", "a") == 1


@pytest.mark.parametrize("method", GATED)
def test_calls_with_the_same_arguments_share_one_run(client, server, connected, method):
    clients = [client, connected(server.endpoint)]
    futures = [each.fire(method, "a") for each in clients for _ in range(10)]
    waiting(client, method, 19)
    client.call("open_gate", "a")
    assert [future.result(SOON) for future in futures] == [1] * 20


def test_those_who_wait_for_a_run_take_no_worker(start_server, backend, connected):
    client = connected(start_server(backend, "service", "--workers", "2", path=SERVICE).endpoint)
    futures = [client.fire("gated", "a") for _ in range(10)]
    waiting(client, "gated", 9)
    assert client.call("plain", "b") == 1
    client.call("open_gate", "a")
    assert {future.result(SOON) for future in futures} == {1}


def test_an_error_is_given_to_all_who_wait(client):
    futures = [client.fire("failing", "a", errback=lambda _: None) for _ in range(3)]
    waiting(client, "failing", 2)
    client.call("open_gate", "a")
    assert [str(future.exception(SOON)) for future in futures] == ["run 1"] * 3


def test_an_error_is_not_kept(client):
    client.call("open_gate", "a")
    for number in (1, 2):
        with pytest.raises(errors.Aborted, match=f"run {number}"):
            client.call("failing", "a")


@pytest.mark.parametrize("method", GATED)
def test_when_the_first_is_cancelled_the_next_one_runs(client, method):
    first = client.fire(method, "a")
    begun(client, "a")
    others = [client.fire(method, "a") for _ in range(3)]
    waiting(client, method, 3)
    first.cancel()
    begun(client, "a", 2)
    client.call("open_gate", "a")
    assert [other.result(SOON) for other in others] == [2] * 3


@pytest.mark.parametrize("method", GATED)
def test_when_the_deadline_of_the_first_has_passed_the_next_one_runs(client, method):
    first = client.options(timeout=0.5).fire(method, "a", errback=lambda _: None)
    begun(client, "a")
    other = client.fire(method, "a")
    waiting(client, method, 1)
    assert isinstance(first.exception(SOON), errors.DeadlineExceeded)
    begun(client, "a", 2)
    client.call("open_gate", "a")
    assert other.result(SOON) == 2


def test_when_the_client_of_the_first_is_lost_the_next_one_runs(client, server, connected):
    lost = connected(server.endpoint)
    lost.fire("gated", "a", errback=lambda _: None)
    begun(client, "a")
    other = client.fire("gated", "a")
    waiting(client, "gated", 1)
    lost.close(now=True)
    begun(client, "a", 2)
    client.call("open_gate", "a")
    assert other.result(SOON) == 2


def test_a_call_that_waits_for_a_run_has_its_own_deadline(client):
    first = client.fire("gated", "a")
    begun(client, "a")
    with pytest.raises(errors.DeadlineExceeded):
        client.options(timeout=0.2).call("gated", "a")
    client.call("open_gate", "a")
    assert first.result(SOON) == 1


def test_what_is_given_up_by_all_begins_anew(client):
    first = client.fire("gated_coroutine", "a")
    begun(client, "a")
    first.cancel()
    client.call("open_gate", "a")
    assert client.call("gated_coroutine", "a") == 2


def test_what_is_stale_is_the_answer_while_one_refresh_runs(client):
    client.call("soon_stale", "a")
    eventually(
        lambda: client.call("soon_stale", "a") and counts(client, "soon_stale")["stale"] >= 3
    )
    assert [client.call("soon_stale", "a"), client.call("runs", "a")] == [1, 2]


@pytest.mark.parametrize("method", ["soon_stale", "soon_stale_inline"])
def test_after_a_refresh_the_new_value_is_the_answer(client, method):
    client.call("open_gate", "a")
    eventually(lambda: client.call(method, "a") > 1)


def test_what_is_invalidated_runs_again(client):
    client.call("open_gate", "a")
    client.call("gated", "a")
    client.call("forget", ["key:a"])
    assert client.call("gated", "a") == 2


def test_an_invalidation_in_any_thread_holds_when_it_has_returned(client):
    client.call("open_gate", "a")
    client.call("gated", "a")
    client.call("told_by_a_thread", "a")
    assert client.call("gated", "a") == 2


def test_what_has_other_tags_stays(client):
    for key in ("a", "b"):
        client.call("open_gate", key)
        client.call("gated", key)
    client.call("forget", ["key:a"])
    assert client.call("gated", "b") == 1


@pytest.mark.parametrize("tags", [["plain"], []])
def test_the_name_of_a_method_is_a_tag_and_no_tag_means_everything(client, tags):
    client.call("plain", "a")
    client.call("forget", tags)
    assert client.call("plain", "a") == 2


def test_a_run_that_was_invalidated_on_its_way_is_not_kept(client):
    first = client.fire("gated", "a")
    begun(client, "a")
    client.call("forget", ["key:a"])
    client.call("open_gate", "a")
    assert [first.result(SOON), client.call("gated", "a")] == [1, 2]


def test_who_comes_after_an_invalidation_does_not_share_a_run_that_began_before_it(client):
    first = client.fire("gated", "a")
    begun(client, "a")
    client.call("forget", ["gated"])
    second = client.fire("gated", "a")
    begun(client, "a", 2)
    client.call("open_gate", "a")
    assert [first.result(SOON), second.result(SOON)] == [1, 2]


def test_as_many_are_kept_as_are_allowed(client):
    for number in (1, 2, 3, 1):
        client.call("few", "a", number)
    assert client.call("runs", "a") == 4
    assert counts(client, "few")["entries"] == 2


def test_large_results_are_kept(client):
    assert client.call("large", 200_000) == client.call("large", 200_000) == bytes(200_000)
    assert client.call("runs", "large") == 1


def test_a_kept_result_is_refused_where_it_is_more_than_a_client_takes(client, server, connected):
    client.call("large", 200_000)
    with pytest.raises(errors.ResourceExhausted, match="the result of large is too large"):
        connected(server.endpoint, max_size=100_000).call("large", 200_000)


def test_what_is_more_than_the_first_takes_is_given_to_the_next(client, server, connected):
    with pytest.raises(errors.ResourceExhausted):
        connected(server.endpoint, max_size=100_000).call("large", 200_000)
    assert len(client.call("large", 200_000)) == 200_000
    assert client.call("runs", "large") == 1


def test_calls_with_arguments_in_frames_of_their_own_run_each_time(client):
    for _ in range(2):
        assert client.call("length", "a", bytes(100_000)) == 100_000
    assert client.call("runs", "a") == 2


def test_calls_with_an_argument_that_streams_run_each_time(client):
    for _ in range(2):
        assert client.call("total", "a", iter([1, 2])) == 3
    assert client.call("runs", "a") == 2


def test_a_drain_waits_for_those_who_share_a_run(client, server):
    futures = [client.fire("gated", "a") for _ in range(5)]
    waiting(client, "gated", 4)
    client.call("open_gate", "a")
    server.send_signal(signal.SIGTERM)
    assert [future.result(SOON) for future in futures] == [1] * 5
    assert server.wait() == 0


def test_nothing_is_in_flight_when_all_is_answered(client):
    first = client.fire("gated", "a")
    begun(client, "a")
    others = [client.fire("gated", "a") for _ in range(3)]
    waiting(client, "gated", 3)
    others[0].cancel()
    first.cancel()
    client.call("open_gate", "a")
    assert others[2].result(SOON) == 2
    eventually(lambda: client.call("ringback.stats")["in_flight"] == 0)


def test_hits_are_counted(client):
    for _ in range(3):
        client.call("plain", "a")
    looked = client.call("ringback.stats")["methods"]["plain"]
    assert looked["calls"] == 3
    assert looked["cache"]["hits"] == 2
    assert looked["cache"]["misses"] == 1
    assert looked["cache"]["entries"] == 1
    assert 0 < looked["cache"]["bytes"] < 100


def test_describe_tells_for_how_long_results_are_kept(client):
    told = {method["name"]: method["cache"] for method in client.describe()["methods"]}
    assert (told["plain"], told["soon_stale"], told["runs"]) == (60, 0.05, None)


def test_servers_that_share_a_state_store_share_what_is_invalidated(
    start_server, backend, connected, tmp_path
):
    options = ("service", "--state", f"sqlite:///{tmp_path}/state.db")
    one, two = (
        connected(start_server(backend, *options, path=SERVICE).endpoint, timeout=SOON)
        for _ in range(2)
    )
    assert two.call("plain", "a") == 1
    one.call("forget", ["plain"])
    eventually(lambda: two.call("plain", "a") == 2)


# With interceptors


@pytest.fixture
def intercepted(start_server, backend, connected):
    return connected(start_server(backend, "intercepted", path=SERVICE).endpoint)


def test_interceptors_see_each_call_and_what_is_kept(intercepted):
    for user in ("ada", "bob"):
        assert intercepted.options(metadata={"user": user}).call("kept", "a") == [1]
    assert intercepted.call("seen") == [["kept", "ada", [1]], ["kept", "bob", [1]]]


def test_an_interceptor_may_refuse_what_is_kept(intercepted):
    intercepted.call("kept", "a")
    with pytest.raises(errors.PermissionDenied):
        intercepted.options(metadata={"refused": True}).call("kept", "a")


def test_what_an_interceptor_makes_of_a_result_is_not_kept(intercepted):
    assert intercepted.options(metadata={"user": "root"}).call("kept", "a") == {"changed": [1]}
    assert intercepted.call("kept", "a") == [1]


# At registration


def test_a_stream_is_not_kept():
    with pytest.raises(errors.UsageError, match="streams"):

        @ringback.Service("shop").method(cache=60)
        def count():
            yield 1


@pytest.mark.parametrize("cache", [0, -1, "60", True])
def test_a_cache_that_is_none_is_refused(cache):
    with pytest.raises(errors.UsageError, match="seconds"):
        ringback.Service("shop").method(cache=cache)(lambda: 1)


def test_servers_that_have_ended_are_no_longer_told():
    service = ringback.Service("shop")
    service.method(name="one", cache=60)(lambda: 1)
    with ringback.Server(service, "tcp://127.0.0.1:*", backend="threading"):
        assert len(service.caches) == 1
    assert not service.caches
