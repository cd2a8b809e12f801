"""Which of many servers a call goes to: policies, who is fit, when a second server is asked. Values in, values out: it knows no calls, no
links and no clock; the client's machine tells it what happens and asks it.
"""

from __future__ import annotations

from .loads import Load
from .outliers import Ejection
from .policies import LeastInFlight, PeakEwma, Policy, RoundRobin, TwoChoices

__all__ = ["Ejection", "LeastInFlight", "Load", "PeakEwma", "Policy", "RoundRobin", "TwoChoices"]
