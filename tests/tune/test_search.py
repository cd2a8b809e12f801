"""The search, of servers that are formulas."""

from __future__ import annotations

from itertools import count

import pytest
from fakes import request, server, workers
from ringback.tune.measure import Failed, Seen
from ringback.tune.results import Trial
from ringback.tune.settings import Settings
from ringback.tune.trials import Search, contenders, nearest, ranked


def search(asked, measure, seconds=None) -> list[Trial]:
    made = Search(asked, measure)
    made.run(seconds, lambda _: None)
    return made.trials


def test_the_defaults_are_the_first_trial_and_the_best_is_found() -> None:
    def throughput(settings: Settings) -> float:
        return workers(settings) * (3 if settings.backend == "gevent" else 1) * settings.processes

    trials = search(request(trials=60), server(throughput))
    assert len(trials) == 60
    assert trials[0].settings == Settings(backend="asyncio")
    best = next(iter(ranked(trials)))
    assert (best.backend, best.processes) == ("gevent", 4)
    assert workers(best) > 100


def test_each_backend_is_tried_early_with_a_worker_for_each_call_in_flight() -> None:
    trials = search(request(trials=6), server(workers))
    assert [
        (each.settings.backend, each.settings.uvloop, each.settings.workers) for each in trials[1:]
    ] == [
        *((backend, False, 64) for backend in ("asyncio", "gevent", "threading", "twisted")),
        ("asyncio", True, 64),
    ]


def test_of_settings_only_those_that_keep_the_objective_are_ranked() -> None:
    trials = search(
        request(objective="p99=50ms", trials=60),
        server(workers, lambda settings: workers(settings) * 1e-3),
    )
    assert any(not trial.held for trial in trials)
    best = next(iter(ranked(trials)))
    assert 40 <= workers(best) <= 50
    near = nearest(trials, "p99")
    assert near is not None
    assert workers(near.settings) == min(workers(trial.settings) for trial in trials)


def test_more_is_tried_of_what_keeps_the_objective() -> None:
    def takes(settings: Settings) -> float:
        return 0.01 if settings.limit == "adaptive" else 0.1

    trials = search(request(objective="p99=50ms", trials=60), server(lambda _: 100.0, takes))
    late = [trial.held for trial in trials[30:]]
    assert sum(late) > 0.7 * len(late)


def test_settings_that_fail_are_trials_with_their_reason_and_are_avoided() -> None:
    def measure(settings: Settings) -> Seen:
        if settings.backend == "twisted":
            raise Failed("its server ended with status 1")
        return server(workers)(settings)

    trials = search(request(trials=60), measure)
    failed = [trial for trial in trials if trial.failed]
    assert failed
    assert {
        (trial.settings.backend, trial.failed, trial.figures, trial.held) for trial in failed
    } == {("twisted", "its server ended with status 1", None, False)}
    assert sum(trial.settings.backend == "twisted" for trial in trials[30:]) < 5
    assert all(settings.backend != "twisted" for settings in ranked(trials))


def test_where_the_defaults_fail_nothing_else_is_tried() -> None:
    def measure(settings: Settings) -> Seen:
        raise Failed("no")

    assert [trial.failed for trial in search(request(), measure)] == ["no"]


def test_a_seed_repeats_what_is_tried() -> None:
    def tried(seed: int) -> list[Settings]:
        return [trial.settings for trial in search(request(trials=20, seed=seed), server(workers))]

    assert tried(1) == tried(1) != tried(2)


def test_the_search_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count(step=1.0)
    monkeypatch.setattr("ringback.tune.trials.time.monotonic", lambda: next(clock))
    trials = search(request(trials=None), server(workers), seconds=20.0)
    assert 5 <= len(trials) <= 10


def test_a_trial_repeated_by_chance_counts_by_its_median() -> None:
    once = [Settings(workers=1), Settings(workers=2)]
    tries = [(once[0], 10.0), (once[0], 30.0), (once[0], 11.0), (once[1], 12.0)]
    trials = [
        Trial(number=n, at=0.0, settings=s, figures=server(lambda _, t=t: t)(s).figures, held=True)
        for n, (s, t) in enumerate(tries)
    ]
    assert ranked(trials) == {once[1]: 12.0, once[0]: 11.0}
    assert list(ranked(trials)) == [once[1], once[0]]


def test_the_best_the_simplest_as_good_and_then_the_others_are_measured_again() -> None:
    best = Settings("threading", workers=118, processes=2)
    like_the_best = Settings("threading", workers=119, processes=2)
    second = Settings("gevent", workers=9, limit="adaptive")
    simple, slow = Settings("twisted", workers=64), Settings("asyncio", workers=9)
    values = {best: 100.0, like_the_best: 99.0, second: 98.5, simple: 97.0, slow: 60.0}
    assert contenders(values) == [best, simple, second, slow]
    fewer = Settings("threading", workers=60)
    assert contenders({simple: 97.0, fewer: 96.0}) == [simple, fewer]
    assert contenders({best: 98.0, simple: 97.0, fewer: 96.0})[:2] == [best, fewer]
    assert contenders({simple: 97.0, slow: 60.0}) == [simple, slow]
