"""Predictions of queueing theory for a server of known service times.

Functions of numbers only, in seconds and calls per second. If only a rate is given, arrivals are a
Poisson process.
"""

from __future__ import annotations

from typing import Literal

# Allowed error of a prediction, as a fraction of the measured value.
WITHIN = 0.25


def closed_bounds(callers: int, demand: float, think: float = 0.0, workers: int = 1) -> float:
    """The maximum calls/s of a closed loop: min(N / (D + Z), c / D).

    Each of N `callers` thinks for Z seconds between calls; a call takes D seconds (`demand`) of any
    one of c `workers`. Raises ValueError if the demand is not positive. Source: asymptotic bounds;
    Denning and Buzen 1978, Computing Surveys 10(3); Lazowska et al. 1984, Quantitative System
    Performance, chapter 5.
    """
    if not demand > 0:
        raise ValueError(f"the demand must be more than 0 s, not {demand}")
    return min(callers / (demand + think), workers / demand)


def mg1(rate: float, mean: float, square: float) -> float:
    """The mean response time in seconds of one server that takes calls in order.

    `rate` is in calls/s; `mean` and `square` are E[S] in seconds and E[S^2] in seconds squared of
    the service time. Raises ValueError if the server is overloaded (utilisation 1 or more), or no
    service time can have these moments. Source: Pollaczek 1930 and Khinchine 1932; Kleinrock 1975,
    Queueing Systems, volume 1, chapter 5.
    """
    utilisation = _utilisation(rate, mean)
    if square < mean**2 * (1 - 1e-9):
        raise ValueError(
            f"E[S^2] = {square:g} is less than E[S]^2 = {mean**2:g}: is it a variance?"
        )
    return mean + rate * square / (2 * (1 - utilisation))


def mg1_ps(rate: float, mean: float) -> float:
    """The mean response time in seconds of one server that all its calls share equally.

    `rate` is in calls/s, `mean` in seconds; the distribution of service times has no effect. Raises
    ValueError if the server is overloaded.
    Source: Kleinrock 1967, Time-shared systems: a theoretical treatment, Journal of the ACM 14(2).
    """
    return mean / (1 - _utilisation(rate, mean))


def erlang_c(rate: float, mean: float, workers: int) -> float:
    """The probability, 0 to 1, that a call finds all workers busy and has to wait.

    `rate` is in calls/s, `mean` in seconds. Raises ValueError if the workers are overloaded.
    Source: Erlang 1917; by the recursion of Erlang B, which stays between 0 and 1 where factorials
    overflow; Cooper 1981, Introduction to Queueing Theory, chapter 3.
    """
    utilisation = _utilisation(rate, mean, workers)
    load, blocked = rate * mean, 1.0
    for busy in range(1, workers + 1):
        blocked = load * blocked / (busy + load * blocked)
    return blocked / (1 - utilisation * (1 - blocked))


def mmc(rate: float, mean: float, workers: int, variation: float = 1.0) -> float:
    """The mean response time in seconds of `workers` that take calls in order from one queue.

    `rate` is in calls/s, `mean` in seconds, `variation` the squared coefficient of variation of the
    service times. The result is exact if that is 1 (exponential) or there is one worker, else an
    approximation. Raises ValueError if the workers are overloaded.
    Source: Erlang 1917; the factor (1 + cs^2) / 2 by Allen and Cunneen, in Allen 1990, Probability,
    Statistics, and Queueing Theory, 2nd edition, chapter 5.
    """
    wait = erlang_c(rate, mean, workers) * mean / (workers - rate * mean)
    return mean + wait * (1 + variation) / 2


def _utilisation(rate: float, mean: float, workers: int = 1) -> float:
    if not (rate >= 0 and mean > 0 and workers >= 1):
        raise ValueError(f"no queue has {rate:g} calls/s of {mean:g} s for {workers} workers")
    utilisation = rate * mean / workers
    if utilisation >= 1:
        raise ValueError(
            f"utilisation {utilisation:.2f}: the queue of {rate:g} calls/s of {mean:g} s "
            f"grows without end (workers: {workers})"
        )
    return utilisation


def error(predicted: float, measured: float) -> float:
    """The relative error of a prediction: 0.25 is a quarter too much.

    Both are in the same unit. Raises ValueError if the measured value is not positive.
    Source: the definition of relative error.
    """
    if not measured > 0:
        raise ValueError(f"the measured value must be positive, not {measured}")
    return predicted / measured - 1


def judge(error: float) -> Literal["good", "not valid here"]:
    """A relative error in words: above a quarter, or NaN, the model is not valid.

    Source: our own choice; near saturation, 3 % of service time may be 30 % of response time.
    """
    return "good" if abs(error) <= WITHIN else "not valid here"
