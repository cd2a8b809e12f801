"""`options(cache=...)`: a client keeps results, and sends no call whose result it has or waits for."""

from __future__ import annotations

from typing import Any

import pytest
import ringback
from promises import eventually, promise, promise_for, until
from ringback import errors
from styles import Begin, Together


@promise
def test_a_result_that_is_kept_is_the_answer(client, key):
    view = client.options(cache=60)
    assert (yield view.call("counted", key)) == [1, None]
    assert (yield view.call("counted", key)) == [1, None]


@promise
def test_calls_without_the_option_run_each_time(client, key):
    yield client.options(cache=60).call("counted", key)
    assert (yield client.call("counted", key)) == [2, None]


@promise
def test_views_of_one_client_share_what_is_kept(client, key):
    yield client.options(cache=60).call("counted", key)
    assert (yield client.options(timeout=5, cache=60).call("counted", key)) == [1, None]


@promise
def test_a_kept_result_needs_no_server(client, pair, start_server, key):
    server = start_server(pair.backend)
    other = pair.connect(server.endpoint, cache=60)
    yield other.call("counted", key)
    server.kill()
    assert (yield other.options(timeout=0.0).call("counted", key)) == [1, None]


@promise
def test_a_fired_call_is_answered_with_what_is_kept(client, key):
    view = client.options(cache=60)
    yield view.call("counted", key)
    heard: list[Any] = []
    assert (yield view.fire("counted", key, callback=heard.append)) == [1, None]
    yield from until(lambda: heard == [[1, None]])


@promise
def test_a_fired_call_is_not_called_back_before_its_caller_has_the_future(client, pair, key):
    view = client.options(cache=60)
    yield view.call("counted", key)
    futures: list[Any] = []
    seen: list[int] = []
    future = view.fire("counted", key, callback=lambda _: seen.append(len(futures)))
    if pair.style.blocking:  # whose callbacks run elsewhere
        seen.append(1)
    futures.append(future)
    yield future
    yield from until(lambda: bool(seen))
    assert seen[0] == 1


@promise
def test_each_caller_has_a_result_of_its_own(client, key):
    view = client.options(cache=60)
    first = yield view.call("counted", key)
    first.append("mine")
    second = yield view.call("counted", key)
    second.append("mine")
    assert (yield view.call("counted", key)) == [1, None]


@promise
def test_other_arguments_metadata_and_types_are_other_keys(client, key):
    view = client.options(cache=60)
    results = [
        (yield view.call("counted", key)),
        (yield view.call("counted", key, value=1)),
        (yield view.call("counted", key, value=True)),
        (yield view.options(metadata={"user": "ada"}).call("counted", key)),
        (yield view.options(returns=tuple[int, None]).call("counted", key)),
    ]
    assert results == [[1, None], [2, 1], [3, True], [4, None], (5, None)]


@promise
def test_calls_for_the_same_are_sent_once(client, key):
    view = client.options(cache=60)
    futures = [view.fire("counted", key, True) for _ in range(5)]
    yield client.call("open_gate", key)
    for future in futures:
        assert (yield future) == [1, None]
    assert (yield client.call("marks", key)).count("run") == 1


@promise
def test_callers_who_wait_for_the_same_share_one_call(client, key):
    view = client.options(cache=60)
    results = yield Together(*[lambda: view.call("counted", key)] * 5)
    assert results == [[1, None]] * 5


@promise
def test_an_error_is_given_to_all_who_wait_and_not_kept(client, key):
    view = client.options(cache=60)
    futures = [
        view.fire("counted", key, True, value="fail", errback=lambda _: None) for _ in range(3)
    ]
    yield client.call("open_gate", key)
    for future in futures:
        with pytest.raises(errors.Aborted, match="run 1"):
            yield future
    with pytest.raises(errors.Aborted, match="run 2"):
        yield view.call("counted", key, True, value="fail")


@promise
def test_when_the_first_is_cancelled_the_next_is_sent(client, pair, key):
    view = client.options(cache=60)
    first = view.fire("counted", key, True, errback=lambda _: None)
    others = [view.fire("counted", key, True) for _ in range(2)]
    yield from eventually(lambda: client.call("marks", key), ["run"])
    first.cancel()
    yield from eventually(lambda: client.call("marks", key), ["run", "run"])
    yield client.call("open_gate", key)
    for other in others:
        assert (yield other) == [2, None]


@promise
def test_when_the_deadline_of_the_first_has_passed_the_next_is_sent(client, key):
    view = client.options(cache=60)
    first = view.options(timeout=0.3).fire("counted", key, True, errback=lambda _: None)
    other = view.fire("counted", key, True)
    with pytest.raises(errors.DeadlineExceeded):
        yield first
    yield from eventually(lambda: client.call("marks", key), ["run", "run"])
    yield client.call("open_gate", key)
    assert (yield other) == [2, None]


@promise
def test_who_waits_for_the_call_of_another_has_a_deadline_of_its_own(client, key):
    view = client.options(cache=60)
    yield client.call("ringback.ping")
    first = view.fire("counted", key, True)
    with pytest.raises(errors.DeadlineExceeded):
        yield view.options(timeout=0.2).call("counted", key, True)
    yield client.call("open_gate", key)
    assert (yield first) == [1, None]


@promise
def test_who_waits_for_the_call_of_another_may_be_cancelled(client, key):
    view = client.options(cache=60)
    first = view.fire("counted", key, True)
    second = view.fire("counted", key, True, errback=lambda _: None)
    second.cancel()
    yield client.call("open_gate", key)
    assert (yield first) == [1, None]


@promise
def test_closing_ends_those_who_wait_for_the_call_of_another(client, pair, key):
    view = pair.connect(cache=60)
    yield view.call("add", 1, 2)
    ended: list[BaseException] = []
    for _ in range(3):
        view.fire("counted", key, True, errback=ended.append)
    yield view.close(now=True)
    yield from until(lambda: len(ended) == 3)
    assert {type(error) for error in ended} == {errors.Cancelled}


@promise
def test_what_is_stale_is_the_answer_until_it_is_refreshed(client, key):
    view = client.options(cache=ringback.Cache(0.01, stale=60))
    yield view.call("counted", key)
    seen = []
    yield from until(lambda: view.cache_stats()["entries"] == 1)
    while not seen or seen[-1] == [1, None]:
        seen.append((yield view.call("counted", key)))
    assert seen[0] == [1, None]


@pytest.mark.parametrize("tags", [["figures"], ["counted"], []])
@promise
def test_what_is_invalidated_is_sent_again(client, key, tags):
    view = client.options(cache=ringback.Cache(60, tags="figures"))
    yield view.call("counted", key)
    client.invalidate(*tags)
    assert (yield view.call("counted", key)) == [2, None]


@promise
def test_what_has_other_tags_stays(client, key):
    view = client.options(cache=ringback.Cache(60, tags=lambda key: f"key:{key}"))
    yield view.call("counted", key)
    client.invalidate("key:other")
    assert (yield view.call("counted", key)) == [1, None]


@promise
def test_a_call_whose_tags_cannot_be_told_fails(client, key):
    view = client.options(cache=ringback.Cache(60, tags=lambda key: 1 / 0))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            yield view.call("counted", key)


@promise
def test_hits_are_counted(client, pair, key):
    other = pair.connect(cache=60)
    for _ in range(3):
        yield other.call("counted", key)
    counts = other.cache_stats()
    assert (counts["hits"], counts["misses"], counts["entries"]) == (2, 1, 1)


@promise
def test_interceptors_see_each_call(client, pair, key):
    seen = []

    def seeing(call):
        seen.append((call.method, (yield)))

    other = pair.connect(interceptors=[seeing], cache=60)
    for _ in range(2):
        yield other.call("counted", key)
    assert seen == [("counted", [1, None])] * 2


@promise
def test_a_call_with_an_idempotency_key_is_sent(client, key):
    view = client.options(cache=60, idempotency_key=key)
    yield view.call("counted", key)
    assert (yield view.call("counted", key)) == [2, None]


@promise
def test_a_cache_that_is_none_is_refused(client):
    with pytest.raises(errors.UsageError, match="seconds"):
        client.options(cache=0)
    yield None


@promise_for("gevent", "asyncio", "twisted")
def test_a_caller_who_is_called_off_leaves_the_others_their_answer(client, pair, key):
    view = client.options(cache=60)
    first = yield Begin(lambda: view.call("counted", key, True))
    yield from eventually(lambda: client.call("marks", key), ["run"])
    other = view.fire("counted", key, True)
    first.cancel()
    yield from eventually(lambda: client.call("marks", key), ["run", "run"])
    yield client.call("open_gate", key)
    assert (yield other) == [2, None]
    with pytest.raises(pair.style.cancelled):
        yield first
