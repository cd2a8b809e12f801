"""What queueing theory predicts for a server of known service times, to stand beside what was measured.

Functions of numbers only, in seconds and calls per second. Where a rate is all that is given, calls arrive at
random (Poisson).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from math import inf, sqrt
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Number = TypeVar("Number", float, Floats)

# What throughput per caller may gain from fewer callers to more before it is taken for more than noise.
_GAIN = 1.05


def closed_bounds(callers: int, demand: float, think: float = 0.0, workers: int = 1) -> float:
    """The most calls/s of a closed loop: min(N / (D + Z), c / D).

    Each of N `callers` thinks for Z seconds between calls; a call takes D seconds (`demand`) of any one of c
    `workers`. Raises ValueError where the demand is not positive.
    Source: asymptotic bounds; Denning and Buzen 1978, Computing Surveys 10(3); Lazowska et al. 1984,
    Quantitative System Performance, chapter 5.
    """
    if not demand > 0:
        raise ValueError(f"the demand must be more than 0 s, not {demand}")
    return min(callers / (demand + think), workers / demand)


def mg1(rate: float, mean: float, square: float) -> float:
    """The mean response in seconds of one server that takes calls in turn.

    `rate` is in calls/s, `mean` and `square` are E[S] in seconds and E[S^2] in seconds squared of the service
    time. Raises ValueError where the server is overloaded (utilisation 1 or more), or no service time has
    these moments.
    Source: Pollaczek 1930 and Khinchine 1932; Kleinrock 1975, Queueing Systems, volume 1, chapter 5.
    """
    utilisation = _utilisation(rate, mean)
    if square < mean**2 * (1 - 1e-9):
        raise ValueError(f"E[S^2] = {square:g} is less than E[S]^2 = {mean**2:g}: is it a variance?")
    return mean + rate * square / (2 * (1 - utilisation))


def mg1_ps(rate: float, mean: float) -> float:
    """The mean response in seconds of one server that all its calls share equally.

    `rate` is in calls/s, `mean` in seconds; how service times spread makes no difference. Raises
    ValueError where the server is overloaded.
    Source: Kleinrock 1967, Time-shared systems: a theoretical treatment, Journal of the ACM 14(2).
    """
    return mean / (1 - _utilisation(rate, mean))


def erlang_c(rate: float, mean: float, workers: int) -> float:
    """The chance, 0 to 1, that a call finds all workers busy and has to wait.

    `rate` is in calls/s, `mean` in seconds. Raises ValueError where the workers are overloaded.
    Source: Erlang 1917; by the recursion of Erlang B, which stays between 0 and 1 where factorials overflow;
    Cooper 1981, Introduction to Queueing Theory, chapter 3.
    """
    utilisation = _utilisation(rate, mean, workers)
    load, blocked = rate * mean, 1.0
    for busy in range(1, workers + 1):
        blocked = load * blocked / (busy + load * blocked)
    return blocked / (1 - utilisation * (1 - blocked))


def mmc(rate: float, mean: float, workers: int, variation: float = 1.0) -> float:
    """The mean response in seconds of `workers` that take calls in turn from one queue.

    `rate` is in calls/s, `mean` in seconds, `variation` the squared coefficient of variation of the service
    times: exact where that is 1 (exponential) or there is one worker, else an approximation. Raises
    ValueError where the workers are overloaded.
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


def fifo(arrivals: ArrayLike, services: ArrayLike, workers: int = 1) -> Floats:
    """The response time of each call, in seconds, where `workers` take calls in the order of their arrival.

    `arrivals` are times in ascending order and `services` how long each call takes, in seconds. Nothing is
    assumed of how either is distributed. Raises ValueError where they differ in length, or times descend.
    Source: Lindley 1952, The theory of queues with a single server, Proceedings of the Cambridge
    Philosophical Society 48(2); Kiefer and Wolfowitz 1955, On the theory of queues with many servers,
    Transactions of the AMS 78(1).
    """
    came, takes = np.asarray(arrivals, dtype=np.float64), np.asarray(services, dtype=np.float64)
    if came.ndim != 1 or came.shape != takes.shape:
        raise ValueError(
            f"each arrival has one service time: {came.shape} arrivals, {takes.shape} service times"
        )
    if workers < 1 or (came[1:] < came[:-1]).any() or (takes < 0).any():
        raise ValueError("there must be a worker, arrivals in ascending order, and no service time below 0")
    if workers == 1:
        # Lindley's recursion, unrolled: a call ends when all work since the server was last idle is done.
        work = np.cumsum(takes)
        ends: Floats = work + np.maximum.accumulate(came - (work - takes))
        return ends - came
    free = [-inf] * workers
    responses = np.empty_like(came)
    for call, (start, service) in enumerate(zip(came.tolist(), takes.tolist(), strict=True)):
        end = max(start, free[0]) + service
        heapq.heapreplace(free, end)
        responses[call] = end - start
    return responses


@dataclass(frozen=True)
class Scalability:
    """The Universal Scalability Law: X(N) = gamma N / (1 + alpha (N - 1) + beta N (N - 1)).

    `gamma` is the calls/s of one caller, `alpha` the part of a call that only one caller at a time can have
    (contention), `beta` what each pair of callers costs (coherency).
    Source: Gunther 2007, Guerrilla Capacity Planning, chapters 4 to 6, for X(N) / X(1); gamma is X(1).
    """

    gamma: float
    alpha: float
    beta: float

    def throughput(self, n: Number) -> Number:
        """Calls/s of `n` callers."""
        return self.gamma * n / (1 + self.alpha * (n - 1) + self.beta * n * (n - 1))

    @property
    def peak(self) -> float:
        """How many callers get the most calls/s: 1 at least, not rounded; infinite where beta is 0."""
        return max(1.0, sqrt((1 - self.alpha) / self.beta)) if self.beta else inf

    @property
    def most(self) -> float:
        """Calls/s at the peak, or what they approach as callers become many."""
        if self.peak < inf:
            return self.throughput(self.peak)
        return self.gamma / self.alpha if self.alpha else inf


@dataclass(frozen=True)
class Fit:
    """A law, and its median absolute relative error at the points fitted and at those held out, if any.

    It is not `valid` where throughput per caller grows with callers: the law knows only costs that grow, and
    does not hold where the cost per call falls, as with batches.
    """

    law: Scalability
    error: float
    held_out_error: float | None
    valid: bool


def fit_scalability(callers: ArrayLike, throughputs: ArrayLike, fit_upto: float = 32) -> Fit:
    """The law, of 0 <= alpha <= 1 and beta >= 0, of the least relative errors at up to `fit_upto` callers.

    `throughputs` are in calls/s; a number of callers may occur more than once. Raises ValueError where they
    are not positive, differ in length, or are of fewer than 4 numbers of callers to be fitted, RuntimeError
    where the search for the law does not end.
    Source: Gunther 2007, Guerrilla Capacity Planning, chapter 5; nonlinear least squares, not his quadratic.
    """
    from scipy.optimize import curve_fit  # takes a second, which only those who fit should wait

    many, speeds = np.asarray(callers, dtype=np.float64), np.asarray(throughputs, dtype=np.float64)
    if many.ndim != 1 or many.shape != speeds.shape:
        raise ValueError(f"each throughput is of one number of callers: {speeds.shape} of {many.shape}")
    if not ((many >= 1) & (speeds > 0) & np.isfinite(speeds)).all():
        raise ValueError("the law is of 1 caller or more, and throughputs above 0")
    fitted = many <= fit_upto
    levels = len(np.unique(many[fitted]))
    if levels < 4:
        raise ValueError(f"a fit needs 4 numbers of callers up to {fit_upto:g}, not {levels}")

    unit = float((speeds / many)[fitted].max())  # so that gamma is near 1, whatever the server's speed
    # "dogbox" can end at a bound itself, where the other method only comes near.
    found, _ = curve_fit(
        lambda n, *law: Scalability(*law).throughput(n),
        many[fitted],
        speeds[fitted] / unit,
        p0=(1.0, 0.1, 1e-3),
        sigma=speeds[fitted] / unit,
        bounds=([1e-9, 0, 0], [inf, 1, inf]),
        method="dogbox",
        x_scale="jac",
        ftol=1e-12,
        xtol=1e-12,
        gtol=1e-12,
        max_nfev=10_000,
    )
    # A cost that no fitted point shows is none: a beta of 1e-17 would have a peak, at 300 million callers.
    shown = 1e-9 / float(many[fitted].max()) ** 2
    gamma, alpha, beta = (float(value) if value > shown else 0.0 for value in found)
    law = Scalability(gamma * unit, alpha, beta)
    errors = np.abs(law.throughput(many) / speeds - 1)
    held_out = None if fitted.all() else float(np.median(errors[~fitted]))
    return Fit(law, float(np.median(errors[fitted])), held_out, _sublinear(many, speeds))


def _sublinear(callers: Floats, throughputs: Floats) -> bool:
    """Whether no number of callers gets more throughput per caller than a lower number, noise aside."""
    shares = np.array([np.median(throughputs[callers == n]) / n for n in np.unique(callers)])
    return bool((shares <= _GAIN * np.minimum.accumulate(shares)).all())


def error(predicted: float, measured: float) -> float:
    """How far off a prediction is, as a part of what was measured: 0.25 is a quarter too much.

    Both are in the same unit. Raises ValueError where what was measured is not positive.
    Source: the definition of relative error.
    """
    if not measured > 0:
        raise ValueError(f"an error is relative to what was measured, which was {measured}")
    return predicted / measured - 1


def judge(error: float) -> Literal["good", "fair", "wrong"]:
    """A relative error in a word: "good" within 25 %, "wrong" beyond a factor 2 either way or if NaN.

    Source: our own choice; near saturation, 3 % of service time may be 30 % of response time.
    """
    if abs(error) <= 0.25:
        return "good"
    return "fair" if -0.5 <= error <= 1 else "wrong"
