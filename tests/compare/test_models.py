"""The models against textbooks, limiting cases, and simulations: call by call, or by `ciw` where
calls share workers or come again.
"""

from __future__ import annotations

import heapq
from math import inf, nan

import ciw
import numpy as np
import pytest
from ringback.compare.statistics.models import (
    closed_bounds,
    erlang_c,
    error,
    judge,
    mg1,
    mg1_ps,
    mmc,
)

EXPONENTIAL = ciw.dists.Exponential(1.0)
CONSTANT = ciw.dists.Deterministic(1.0)
# Mean 1 as the other two, E[S^2] = 2/3 * 2 / 2^2 + 1/3 * 2 / 0.5^2 = 3: squared coefficient of
# variation 2.
SPREAD = ciw.dists.HyperExponential([2.0, 0.5], [2 / 3, 1 / 3])


def fifo(
    rate: float, service: ciw.dists.Distribution, workers: int = 1, calls: int = 60_000
) -> np.ndarray:
    """The response time of each call, of workers that take calls in the order of their arrival,
    which is random.
    """
    ciw.seed(1)
    arrivals = np.random.default_rng(1).exponential(1 / rate, calls).cumsum()
    free, ended = [0.0] * workers, []
    for came in arrivals.tolist():
        ended.append(max(came, free[0]) + service.sample())
        heapq.heapreplace(free, ended[-1])
    return np.array(ended) - arrivals


def shared(rate: float, service: ciw.dists.Distribution, calls: int = 15_000) -> np.ndarray:
    """The same, of one worker that all calls share."""
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(rate)],
        service_distributions=[service],
        number_of_servers=[inf],
        ps_thresholds=[1],
    )
    ciw.seed(1)
    simulation = ciw.Simulation(network, node_class=ciw.PSNode)
    simulation.simulate_until_max_time(calls / rate)
    records = sorted(simulation.get_all_records(), key=lambda record: record.arrival_date)
    return np.array([record.exit_date - record.arrival_date for record in records])


def within_noise(responses: np.ndarray, percent: float):
    """The mean of simulated responses give or take three standard errors (by batch means), of
    `percent` of it
    at most: a tolerance that the noise of the simulation justifies, and that is not so wide that a
    wrong
    formula would pass."""
    batches = np.array([batch.mean() for batch in np.array_split(responses, 30)])
    noise = 3 * batches.std(ddof=1) / len(batches) ** 0.5
    assert noise < responses.mean() * percent / 100
    return pytest.approx(responses.mean(), abs=noise)


# Bounds of a closed loop


def test_one_caller_is_bound_by_its_own_cycle_and_many_by_the_workers():
    assert closed_bounds(1, demand=0.5, think=1.5) == 0.5
    assert (
        closed_bounds(4, demand=0.5, think=1.5) == 2
    )  # where both bounds meet: (D + Z) / D callers
    assert closed_bounds(100, demand=0.5, think=1.5) == 2
    assert closed_bounds(100, demand=0.5, think=1.5, workers=3) == 6
    assert closed_bounds(1, demand=0.5) == 2


@pytest.mark.parametrize("workers", [1, 3])
def test_a_simulated_closed_loop_nears_its_bound_when_nearly_empty_or_full_and_stays_below_between(
    workers,
):
    def measured(callers: int, seconds: float = 1_500) -> float:
        thinking, served = 10.0, 1.0
        network = ciw.create_network(
            arrival_distributions=[ciw.dists.Sequential([0.001, 1e9]), None],
            batching_distributions=[ciw.dists.Sequential([callers, 1]), CONSTANT],
            service_distributions=[
                ciw.dists.Exponential(1 / thinking),
                ciw.dists.Deterministic(served),
            ],
            number_of_servers=[inf, workers],
            routing=[[0.0, 1.0], [1.0, 0.0]],
        )
        ciw.seed(1)
        simulation = ciw.Simulation(network)
        simulation.simulate_until_max_time(seconds)
        warm = seconds / 10
        done = sum(r.node == 2 and r.exit_date > warm for r in simulation.get_all_records())
        return done / (seconds - warm)

    def bound(callers: int) -> float:
        return closed_bounds(callers, demand=1.0, think=10.0, workers=workers)

    # One caller makes some 4 000 calls, whose cycles of 11 s vary by 10 s: a standard error of 1.4
    # %.
    assert measured(1, seconds=50_000) == pytest.approx(bound(1), rel=0.04)
    assert measured(25 * workers) == pytest.approx(bound(25 * workers), rel=0.005)
    assert measured(11 * workers) < 0.97 * bound(11 * workers)


def test_a_call_that_takes_no_time_has_no_bound():
    with pytest.raises(ValueError, match="demand"):
        closed_bounds(1, demand=0.0)


# One worker


@pytest.mark.parametrize("rate", [0.0, 0.5, 0.9, 0.99])
def test_exponential_service_makes_an_mg1_the_mm1(rate):
    assert mg1(rate, mean=1.0, square=2.0) == pytest.approx(1 / (1 - rate))


def test_constant_service_halves_the_wait_of_an_mm1():
    assert mg1(0.8, mean=1.0, square=1.0) - 1 == pytest.approx(
        (mg1(0.8, mean=1.0, square=2.0) - 1) / 2
    )


@pytest.mark.parametrize(
    ("rate", "service", "square"), [(0.5, EXPONENTIAL, 2), (0.6, CONSTANT, 1), (0.3, SPREAD, 3)]
)
def test_a_simulated_queue_of_one_worker_is_as_slow_as_pollaczek_and_khinchine_say(
    rate, service, square
):
    assert mg1(rate, 1.0, square) == within_noise(fifo(rate, service), percent=4)


def test_moments_that_no_service_time_can_have_are_refused():
    with pytest.raises(ValueError, match="variance"):
        mg1(1.0, mean=0.5, square=0.1)


def test_the_moments_of_constant_samples_are_not_refused_for_rounding():
    samples = np.full(3, 0.1)
    assert mg1(5.0, samples.mean(), (samples**2).mean()) == pytest.approx(0.15)


def test_an_idle_shared_worker_takes_the_service_time_and_a_half_busy_one_twice_that():
    assert mg1_ps(0.0, mean=0.2) == 0.2
    assert mg1_ps(2.5, mean=0.2) == pytest.approx(0.4)


@pytest.mark.parametrize("service", [CONSTANT, SPREAD])
def test_a_simulated_shared_worker_is_as_slow_whatever_the_spread_of_service_times(service):
    assert mg1_ps(0.4, mean=1.0) == within_noise(shared(0.4, service), percent=8)


# Many workers


@pytest.mark.parametrize(
    ("load", "workers", "chance"),
    [(8, 10, 0.4092), (1, 2, 1 / 3), (2, 3, 4 / 9), (0.7, 1, 0.7), (0, 5, 0)],
)
def test_erlang_c_is_as_tabulated(load, workers, chance):
    assert erlang_c(load / 0.25, 0.25, workers) == pytest.approx(chance, abs=5e-5)


@pytest.mark.parametrize("workers", [100, 1_000, 10_000])
def test_erlang_c_of_many_workers_is_the_chance_that_halfin_and_whitt_found(workers):
    # With spare workers of b times the root of the load, the chance tends to 1 / (1 + b F(b) /
    # f(b)), F and f
    # the normal distribution's; at b = 1 that is 0.2234, and the difference shrinks as the root of
    # their
    # number grows.
    load = workers - workers**0.5
    assert erlang_c(load, 1.0, workers) == pytest.approx(0.2234, abs=0.2 / workers**0.5)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.95])
def test_a_queue_with_one_worker_is_an_mm1(rate):
    assert mmc(rate, 1.0, 1) == pytest.approx(1 / (1 - rate))


@pytest.mark.parametrize("variation", [0.0, 0.5, 1.0, 3.0])
def test_with_one_worker_allen_and_cunneen_say_what_pollaczek_and_khinchine_say(variation):
    assert mmc(1.4, 0.5, 1, variation) == pytest.approx(mg1(1.4, 0.5, (1 + variation) * 0.25))


def test_two_workers_wait_as_the_closed_form_says():
    assert mmc(1.2, 1.0, 2) == pytest.approx(1 / (1 - 0.6**2))


@pytest.mark.parametrize(
    ("service", "variation", "bias"),
    # Exact for exponential service; else within 2 % of a million calls, at this load.
    [(EXPONENTIAL, 1.0, 0.0), (CONSTANT, 0.0, 0.02), (SPREAD, 2.0, 0.02)],
)
def test_simulated_workers_are_as_slow_as_allen_and_cunneen_say(service, variation, bias):
    responses = fifo(1.8, service, workers=3)
    noise = within_noise(responses, percent=5).abs
    assert mmc(1.8, 1.0, 3, variation) == pytest.approx(
        responses.mean(), abs=noise + bias * responses.mean()
    )


@pytest.mark.parametrize(
    "overloaded",
    [
        lambda: mg1(2.0, 0.5, 0.5),
        lambda: mg1_ps(3.0, 0.5),
        lambda: erlang_c(4.0, 0.5, 2),
        lambda: mmc(5.0, 0.5, 2),
    ],
)
def test_no_response_time_is_predicted_for_an_overloaded_server(overloaded):
    with pytest.raises(ValueError, match=r"utilisation 1\.\d\d"):
        overloaded()


@pytest.mark.parametrize(
    ("rate", "mean", "workers"), [(-1.0, 0.1, 1), (1.0, 0.0, 1), (1.0, nan, 1), (1.0, 0.1, 0)]
)
def test_what_is_no_queue_is_refused(rate, mean, workers):
    with pytest.raises(ValueError, match="no queue"):
        mmc(rate, mean, workers)


# Errors


def test_an_error_is_relative_to_what_was_measured_and_positive_where_too_much_was_predicted():
    assert error(150.0, 100.0) == pytest.approx(0.5)
    assert error(50.0, 100.0) == pytest.approx(-0.5)
    with pytest.raises(ValueError, match="measured"):
        error(1.0, 0.0)


@pytest.mark.parametrize("relative", [-0.25, 0.0, 0.25])
def test_a_prediction_is_good_within_a_quarter(relative):
    assert judge(relative) == "good"


@pytest.mark.parametrize("relative", [-1.0, -0.26, 0.26, 1.0, inf, nan])
def test_a_model_that_is_further_off_is_not_valid_here(relative):
    assert judge(relative) == "not valid here"
