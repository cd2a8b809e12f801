"""Each call of a map is a call of its own: it counts for what bounds calls, fails alone, and sees
nothing of the others.
"""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import msgspec
import pytest
import ringback
from msgspec import Raw
from processes import SOON, eventually
from raw import Dealer, Watch, args, resident
from ringback import errors
from ringback.protocol.messages import (
    Call,
    Cancel,
    Fault,
    Item,
    Map,
    Mapped,
    Refusal,
    Reply,
    Welcome,
)
from ringback.testing import call_context

SERVICE = Path(__file__).with_name("mapped.py")


@pytest.fixture
def server(start_server, backend):
    return start_server(
        backend, "service", "--resource", "gpu=1", "--state", "memory://", path=SERVICE
    )


@pytest.fixture
def client(server, connected):
    return connected(server.endpoint)


def kinds(outcomes: list) -> list[type]:
    return [type(outcome) for outcome in outcomes]


def test_each_call_counts_for_the_rate(start_server, connected, backend):
    server = start_server(
        backend, "service", "--rate", "0.1", "--burst", "30", "--state", "memory://", path=SERVICE
    )
    greedy, polite = connected(server.endpoint), connected(server.endpoint)
    outcomes = greedy.fire_map("inline", range(50)).result(SOON)
    assert kinds(outcomes) == [int] * 30 + [errors.ResourceExhausted] * 20
    assert kinds(greedy.fire_map("worker", range(3)).result(SOON)) == [errors.ResourceExhausted] * 3
    assert list(polite.map("inline", range(5))) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("method", "most"), [("limited", 2), ("scarce", 1)])
def test_each_call_counts_for_limits_and_resources(client, method, most):
    client.fire_map(method, [0.02] * 12).result(SOON)
    assert client.call("most") == most


def test_calls_that_take_long_run_at_once(client):
    begin = time.monotonic()
    assert list(client.map("nap", ["a"] * 24, [0.2] * 24)) == ["a"] * 24
    assert time.monotonic() - begin < 24 * 0.2 / 2


def test_a_call_that_waits_holds_up_no_other(client):
    """Two that meet: the first waits for the last."""
    for _ in range(3):
        assert sorted(client.map("meets", range(50))) == list(range(50))


@pytest.mark.parametrize("most", [1, 2, 10, 40])
def test_no_map_takes_more_than_may_be_in_flight(start_server, connected, backend, most):
    options = ("--max-in-flight", str(most), "--state", "memory://")
    server = start_server(backend, "service", *options, path=SERVICE)
    client = connected(server.endpoint)
    for method in ("inline", "worker", "coroutine"):
        assert list(client.map(method, range(500))) == list(range(500))
    assert client.call("ringback.stats")["in_flight"] == 0


@pytest.mark.parametrize("method", ["leaves_inline", "leaves_worker"])
def test_each_call_has_a_context_of_its_own(client, method):
    words = ["a", "set", "b", "exit", "c"]
    outcomes = client.fire_map(method, words).result(SOON)
    assert [outcomes[at] for at in (0, 1, 2, 4)] == ["nothing"] * 4
    assert type(outcomes[3]) is errors.RemoteError
    assert client.call("inline", 1) == 1


@pytest.mark.parametrize("method", ["later", "later_inline"])
def test_calls_may_return_futures(client, method):
    assert list(client.map(method, range(20))) == list(range(20))


@pytest.mark.parametrize("method", ["odd", "odd_inline"])
def test_a_result_that_cannot_be_sent_fails_alone(client, method):
    outcomes = client.fire_map(method, range(6)).result(SOON)
    assert outcomes[0::2] == [{"n": 0}, {"n": 2}, {"n": 4}]
    assert kinds(outcomes[1::2]) == [errors.RemoteError] * 3


def test_what_went_out_before_is_not_told_again(client):
    outcomes = client.fire_map("first_fails", range(40)).result(SOON)
    assert type(outcomes[0]) is errors.RemoteError
    assert outcomes[1:] == list(range(1, 40))
    assert client.fire_map("first_is_large", range(5)).result(SOON) == [bytes(300_000), 1, 2, 3, 4]


def test_results_that_nobody_reads_are_bounded(server, client):
    before = resident(server.process.pid)
    with Watch(server.process.pid) as watch:
        outcomes = client.fire_map("zeros", [1_000_000] * 400).result(SOON)
    assert watch.most < before + 128 * 1024 * 1024
    assert set(kinds(outcomes)) <= {bytes, errors.ResourceExhausted}


@pytest.mark.parametrize("method", ["told_of_inline", "told_of_worker"])
def test_a_handler_is_told_of_its_call(client, method):
    view = client.options(metadata={"user": "ada", "n": 3}, timeout=5.0)
    for seen in view.map(method, range(3)):
        assert (seen["method"], seen["metadata"]) == (method, {"user": "ada", "n": 3})
        assert 0 < seen["left"] <= 5


def test_each_call_has_a_key_of_its_own(client):
    view = client.options(idempotency_key="k")
    names = list("abcdefg")
    assert list(view.map("pay", names, chunksize=3)) == names
    assert list(view.map("pay", names, chunksize=2)) == names
    assert view.options(idempotency_key="k-4").call("pay", "e") == "e"
    assert sorted(client.call("told")) == names
    assert (
        list(client.map("pay", names)) == names
    )  # without a key of the caller's each has a new one
    assert sorted(client.call("told")) == sorted(names * 2)


def test_results_are_kept_as_of_any_call(client):
    assert list(client.map("kept", ["x", "y", "x"])) == ["x", "y", "x"]
    assert list(client.map("kept", ["y", "x"])) == ["y", "x"]
    assert sorted(client.call("told")) == ["x", "y"]


def test_a_map_holds_up_nobody(client, connected, server):
    other = connected(server.endpoint)
    other.call("inline", 1)
    took = []
    held = client.fire_map("nap", ["a"] * 400, [0.01] * 400)
    mapped = client.fire_map("inline", range(100_000))
    for n in range(20):
        begin = time.monotonic()
        assert other.call("worker", n) == n
        took.append(time.monotonic() - begin)
    assert sorted(took)[10] < 0.2
    assert len(mapped.result(SOON)) == 100_000
    assert len(held.result(SOON)) == 400


def test_clients_take_turns_however_many_maps_one_makes(client, connected, server):
    other = connected(server.endpoint)
    greedy = client.fire_map("scarce", [0.005] * 300, chunksize=4)
    eventually(lambda: client.call("most"))
    begin = time.monotonic()
    for _ in range(10):
        other.call("scarce", 0.0)
    assert time.monotonic() - begin < 0.7  # behind all of the maps, it would be 1.5
    greedy.cancel()


def test_a_map_keeps_the_bound_of_its_client(server, connected, client):
    few = connected(server.endpoint, max_in_flight=10)
    held = [few.fire("nap", "held", 0.3) for _ in range(9)]
    ended = few.fire_map("nap", ["map"] * 30, [0.01] * 30)
    most = 0
    while not ended.done():
        most = max(most, client.call("ringback.stats")["methods"]["nap"]["in_flight"])
    assert most <= 10
    assert ended.result(SOON) == ["map"] * 30
    assert [future.result(SOON) for future in held] == ["held"] * 9


def test_close_waits_for_calls_of_a_map_that_wait_for_room(server):
    with ringback.connect(server.endpoint, max_in_flight=10) as few:
        ended = few.fire_map("nap", ["n"] * 50, [0.01] * 50)
    assert ended.result(SOON) == ["n"] * 50


def test_all_calls_of_a_map_inherit_what_they_were_made_in(server, connected):
    few = connected(server.endpoint, max_in_flight=10)
    with call_context(deadline=time.monotonic() + 2.0):
        ended = few.fire_map("told_of_worker", range(30))
    assert all(0 < seen["left"] <= 2 for seen in ended.result(SOON))


def test_an_iterable_that_raises_does_so_behind_what_it_has_given(client):
    def rows():
        yield from range(5)
        raise KeyError("behind")

    results = client.map("inline", rows(), chunksize=2)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(KeyError, match="behind"):
        next(results)


def test_what_is_counted_are_the_calls(client):
    client.fire_map("odd_inline", range(6)).result(SOON)
    assert client.call("ringback.stats")["methods"]["odd_inline"]["calls"] == 6
    list(client.map("inline", range(100)))
    list(client.map("worker", range(100)))
    client.fire_map("nap", ["n"] * 50, [0.01] * 50).result(SOON)
    methods = client.call("ringback.stats")["methods"]
    assert [methods[name]["calls"] for name in ("inline", "worker", "nap")] == [100, 100, 50]
    assert methods["worker"]["in_flight"] == 0


def test_a_map_is_finished_before_the_server_ends(server, client):
    ended = client.fire_map("nap", [str(n) for n in range(60)], [0.02] * 60)
    eventually(lambda: client.call("told"))
    server.process.send_signal(signal.SIGTERM)
    assert ended.result(SOON) == [str(n) for n in range(60)]
    assert server.wait() == 0


def test_the_calls_of_a_client_that_has_gone_end(server, client, connected):
    gone = connected(server.endpoint)
    gone.fire_map("nap", ["gone"] * 500, [0.05] * 500, errback=lambda _: None)
    eventually(lambda: "gone" in client.call("told"))
    gone.close(now=True)
    eventually(lambda: client.call("ringback.stats")["in_flight"] == 0)
    assert len(client.call("told")) < 500


# Maps that no client of ours sends


def mapped(dealer: Dealer, count: int, id_: int) -> tuple[dict[int, object], dict[int, str]]:
    """The results and the codes of the failures, by place."""
    results: dict[int, object] = {}
    codes: dict[int, str] = {}
    while len(results) + len(codes) < count:
        heard = dealer.hear()
        assert heard
        for message in heard:
            if type(message) is Mapped and message.id == id_:
                failures = message.failures or {}
                for place, result in enumerate(
                    msgspec.msgpack.decode(message.results), message.first
                ):
                    assert place not in results
                    assert place not in codes
                    if place in failures:
                        codes[place] = failures[place].code
                    else:
                        results[place] = result
    return results, codes


def rows(*each: object) -> Raw:
    return Raw(msgspec.msgpack.encode(each))


def answer(dealer: Dealer) -> object:
    while heard := dealer.hear():
        for message in heard:
            if type(message) is not Welcome:
                return message
    raise AssertionError("no answer")


@pytest.mark.parametrize("method", ["inline", "worker", "coroutine"])
def test_what_is_wrong_with_one_call_is_its_own(server, method):
    with Dealer(server.endpoint) as dealer:
        dealer.say(Map(1, method, rows([1], ["x"], [], [1, 2], 7, {"n": 1}, None, [2])))
        results, codes = mapped(dealer, 8, 1)
        assert results == {0: 1, 7: 2}
        assert codes == dict.fromkeys(range(1, 7), "INVALID_ARGUMENT")


def test_what_is_no_map_is_refused(server):
    with Dealer(server.endpoint) as dealer:
        for id_, data in enumerate([b"\xc0", b"\x01", b"\x81\x01\x02", b"\xa1x"], start=1):
            dealer.say(Map(id_, "inline", Raw(data)))
            refusal = answer(dealer)
            assert type(refusal) is Refusal
            assert (refusal.id, refusal.code) == (id_, "INVALID_ARGUMENT")
        dealer.say(Map(10, "inline", rows(*[[1]] * 10_001)))
        refusal = answer(dealer)
        assert type(refusal) is Refusal
        assert "10,001" in refusal.message
        dealer.say(Map(11, "inline", rows()))
        assert answer(dealer) == Mapped(11, 0, Raw(b"\x90"))
        dealer.say(Map(11, "inline", rows([1])))  # a repeat
        dealer.say(Call(12, "inline", args(3)))
        assert answer(dealer).id == 12


def test_a_map_that_is_cancelled_runs_no_further(server, client):
    with Dealer(server.endpoint) as dealer:
        dealer.say(Map(1, "inline", rows([1])), Cancel(1))
        dealer.say(Map(2, "nap", rows(*[["z", 0.05]] * 500)))
        eventually(lambda: "z" in client.call("told"))
        dealer.say(Cancel(2))
        eventually(lambda: client.call("ringback.stats")["in_flight"] == 0)
        dealer.say(Call(3, "inline", args(3)))
        heard = answer(dealer)
        while type(heard) is Mapped:  # what had ended before
            heard = answer(dealer)
        assert type(heard) is Reply
        assert len(client.call("told")) < 500


def test_a_map_is_bounded_by_its_time(server):
    with Dealer(server.endpoint) as dealer:
        dealer.say(Map(1, "nap", rows(*[["t", 0.0]] * 5, *[["t", 0.5]] * 100), timeout=300))
        results, codes = mapped(dealer, 105, 1)
        assert sorted(results) == [0, 1, 2, 3, 4]
        assert set(codes.values()) == {"DEADLINE_EXCEEDED"}


def test_items_for_a_map_are_a_fault(server):
    with Dealer(server.endpoint) as dealer:
        dealer.say(Map(1, "nap", rows(["i", 0.3])))
        dealer.say(Item(1, args(1)))
        assert type(answer(dealer)) is Fault


def test_threads_share_a_client_that_maps(client):
    sums: list[int] = []

    def work() -> None:
        for method in ("inline", "worker", "coroutine"):
            sums.append(sum(client.map(method, range(2000), chunksize=300)))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert sums == [sum(range(2000))] * 18
