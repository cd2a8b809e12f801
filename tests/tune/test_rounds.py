"""The rounds after a search, of servers that are formulas, and what they amount to in words."""

from __future__ import annotations

import random

import pytest
from fakes import request, seen, server
from ringback.tune.measure import Failed, Seen
from ringback.tune.results import Trial
from ringback.tune.rounds import Rounds
from ringback.tune.settings import Settings
from ringback.tune.verdict import verdict

DEFAULTS, OTHER, THIRD = Settings(), Settings(backend="gevent"), Settings(backend="twisted")


def noisy(
    speeds: dict[Settings, float], takes: dict[Settings, float] | None = None, noise: float = 0.02
):
    """Calls/s with that much noise, and response times."""
    chance = random.Random(7)
    return lambda settings: seen(
        speeds[settings] * chance.lognormvariate(0, noise), (takes or {}).get(settings, 0.01)
    )


def rounds(asked, measure, settings=(DEFAULTS, OTHER), many: int = 6) -> Rounds:
    made = Rounds(asked, settings, measure)
    for number in range(1, many + 1):
        made.round(number)
    return made


def trials(*held: bool) -> list[Trial]:
    """Of the defaults, and the others."""
    return [
        Trial(number=n, at=0.0, settings=each, figures=seen(100.0).figures, held=keeps)
        for n, (each, keeps) in enumerate(zip((DEFAULTS, OTHER, THIRD), held, strict=False), 1)
    ]


def test_a_real_difference_is_told_with_its_interval() -> None:
    asked = request(objective="p99=50ms")
    found = rounds(asked, noisy({DEFAULTS: 100.0, OTHER: 180.0}, {OTHER: 0.031})).finalists()
    low, high = found[1].interval
    assert 1.6 < low < found[1].ratio < high < 2.0
    told = verdict(asked, trials(True, True), found)
    assert told.best == OTHER
    assert told.shown
    assert told.command == "ringback serve app.py:service --backend gevent"
    assert "1.7" in told.sentences[0] or "1.8" in told.sentences[0]
    assert "the calls/s of the defaults, p99 31.0 ms; sure at 95%, 6 rounds" in told.sentences[0]
    assert told.sentences[1] == "p99 <= 50 ms was met in 6 of 6 rounds"


def test_equal_settings_are_not_called_better() -> None:
    wrong = 0
    for seed in range(40):
        chance = random.Random(seed)
        found = rounds(
            request(),
            lambda _, chance=chance: seen(100.0 * chance.lognormvariate(0, 0.1)),
            (DEFAULTS, OTHER, THIRD),
        ).finalists()
        wrong += verdict(request(), trials(True, True, True), found).best != DEFAULTS
    assert wrong <= 4


def test_what_is_not_shown_to_be_better_leaves_the_defaults() -> None:
    asked = request()
    told = verdict(
        asked, trials(True, True), rounds(asked, noisy({DEFAULTS: 100.0, OTHER: 101.0})).finalists()
    )
    assert told.best == DEFAULTS
    assert not told.shown
    assert told.sentences[0].startswith("6 rounds proved no settings better than the defaults")


def test_of_settings_that_are_as_good_the_simplest_are_chosen() -> None:
    many = Settings(backend="gevent", processes=2)
    speeds = {DEFAULTS: 100.0, many: 200.0, THIRD: 196.0}
    settings = (DEFAULTS, many, THIRD)
    found = rounds(request(), noisy(speeds, noise=0.01), settings).finalists()
    assert verdict(request(), trials(True, True, True), found).best == THIRD
    found = rounds(request(), noisy({**speeds, THIRD: 150.0}, noise=0.01), settings).finalists()
    assert verdict(request(), trials(True, True, True), found).best == many


def test_faster_settings_that_miss_the_objective_are_not_chosen() -> None:
    asked = request(objective="p99=50ms")
    found = rounds(asked, noisy({DEFAULTS: 100.0, OTHER: 300.0}, {OTHER: 0.08})).finalists()
    assert found[1].outcome == "better"
    assert verdict(asked, trials(True, True), found).best == DEFAULTS


def test_where_the_defaults_miss_the_objective_slower_settings_may_be_the_answer() -> None:
    asked = request(objective="p99=50ms")
    found = rounds(asked, noisy({DEFAULTS: 100.0, OTHER: 80.0}, {DEFAULTS: 0.09})).finalists()
    told = verdict(asked, trials(False, True), found)
    assert (told.best, told.shown) == (OTHER, True)
    assert told.sentences[0].startswith(
        "the defaults do not meet p99 <= 50 ms (p99 90.0 ms, met in 0 of 6 rounds); these do"
    )


def test_where_nothing_keeps_the_objective_the_nearest_is_named() -> None:
    asked = request(objective="p99=5ms")
    told = verdict(asked, trials(False, False), [])
    assert told.best is None
    assert "no settings met p99 <= 5 ms; the closest had p99 10.0 ms" in told.sentences[0]
    found = rounds(asked, noisy({DEFAULTS: 100.0, OTHER: 80.0}, {OTHER: 0.007})).finalists()
    told = verdict(asked, trials(True, True), found)
    assert told.best is None
    assert told.sentences[0].endswith("p99 7.0 ms: ringback serve app.py:service --backend gevent")


def test_a_search_that_was_interrupted_names_its_best_as_not_shown() -> None:
    told = verdict(request(), trials(True, True)[:1], [])
    assert told.best == DEFAULTS
    fast = Trial(number=2, at=0.0, settings=OTHER, figures=seen(500.0).figures, held=True)
    told = verdict(request(), [*trials(True), fast], [])
    assert (told.best, told.shown) == (OTHER, False)
    assert "not proved" in told.sentences[0]
    assert verdict(request(), [], []).best is None


def test_settings_that_fail_twice_are_out_and_the_others_go_on() -> None:
    calls: list[Settings] = []

    def measure(settings: Settings) -> Seen:
        calls.append(settings)
        if settings == THIRD and len(calls) > 6:
            raise Failed("its server ended")
        return server(lambda _: 100.0)(settings)

    made = rounds(request(), measure, (DEFAULTS, OTHER, THIRD))
    assert made.failures == ["--backend twisted: its server ended"]
    assert [each.settings for each in made.finalists()] == [DEFAULTS, OTHER]
    assert {len(each.rounds) for each in made.finalists()} == {6}
    assert not made.over


def test_a_round_that_was_cut_short_does_not_count() -> None:
    made = Rounds(request(), (DEFAULTS, OTHER), server(lambda _: 100.0))
    assert made.finalists() == []
    made.round(1)
    made._measure = lambda _: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        made.round(2)
    assert {len(each.rounds) for each in made.finalists()} == {1}


def test_rounds_in_which_littles_law_is_off_are_not_compared() -> None:
    numbers = iter(range(100))
    made = rounds(request(), lambda settings: seen(100.0, little=next(numbers) > 100))
    assert made.finalists()[1].ratio is None


def test_a_load_generator_without_anything_to_spare_is_said() -> None:
    made = rounds(request(), lambda settings: seen(100.0, client_busy=0.97))
    told = verdict(request(), trials(True, True), made.finalists())
    assert any("load generator was the limit" in each for each in told.sentences)


def test_a_rank_of_too_few_calls_is_said() -> None:
    asked = request(objective="p99=50ms")
    made = rounds(asked, lambda settings: seen(100.0, many=100))
    told = verdict(asked, trials(True, True), made.finalists())
    assert any("too few calls" in each for each in told.sentences)
