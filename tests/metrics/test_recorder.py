"""Histograms: what is counted in one go is what would be counted one by one; and the sum of what
processes report.
"""

from __future__ import annotations

from bisect import bisect_left

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringback.metrics.recorder import BOUNDS, MOST_CODES, OK, OTHER, CallRecorder, Histogram
from ringback.metrics.snapshot import Calls, ServerSnapshot

SECONDS = st.floats(0, 20) | st.sampled_from(BOUNDS)


@given(st.lists(SECONDS, min_size=1))
def test_a_batch_is_counted_as_its_calls_would_be(durations: list[float]) -> None:
    durations.sort()
    batch, single = Histogram(), Histogram()
    batch.add_since(0.0, durations)
    for each in durations:
        single.add(each)
    assert batch.counts == single.counts
    assert batch.seconds == pytest.approx(single.seconds)
    assert single.counts[bisect_left(BOUNDS, durations[0])] > 0


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from([OK, "ABORTED"]), SECONDS, st.booleans())
    )
)
def test_the_sum_of_two_is_what_one_would_have_counted(
    ended: list[tuple[str, str, float, bool]],
) -> None:
    whole, halves = CallRecorder(), [CallRecorder(), CallRecorder()]
    for number, (method, code, seconds, is_stream) in enumerate(ended):
        for recorder in (whole, halves[number % 2]):
            recorder.ended(method, code, seconds, is_stream=is_stream)
    total = ServerSnapshot()
    for half in halves:
        sent = msgspec.msgpack.encode(ServerSnapshot(Calls.of(half)))  # as processes do
        total.add(msgspec.msgpack.decode(sent, type=ServerSnapshot))
    one = Calls.of(whole)
    for table, other in ((total.ended.calls, one.calls), (total.ended.streams, one.streams)):
        counts = [
            {(m, c): each.counts for m, codes in t.items() for c, each in codes.items()}
            for t in (table, other)
        ]
        assert counts[0] == counts[1]


def test_codes_that_handlers_invent_have_a_bound() -> None:
    recorder = CallRecorder()
    for number in range(10 * MOST_CODES):
        recorder.ended("fail", f"CODE_{number}", 0.0)
    recorder.ended("fail", OK, 0.0)
    recorder.ended("other", "CODE", 0.0)
    codes = [code for method, code in recorder.calls if method == "fail"]
    assert len(codes) == MOST_CODES + 2
    assert {OK, OTHER} < {*codes}
    assert sum(recorder.calls["fail", OTHER].counts) == 9 * MOST_CODES
    assert ("other", "CODE") in recorder.calls
