"""Chooses a server for each call: policies, the servers' health, retries and hedging.

Values in, values out: it knows no calls, links or clocks. The client's machine reports events and
asks for choices.
"""

from __future__ import annotations

from .loads import Load
from .outliers import Ejection
from .policies import LeastInFlight, PeakEwma, Policy, RoundRobin, TwoChoices

__all__ = ["Ejection", "LeastInFlight", "Load", "PeakEwma", "Policy", "RoundRobin", "TwoChoices"]
