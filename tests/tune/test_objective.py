"""What is an objective, and what is not."""

from __future__ import annotations

import pytest
from ringback.tune.objective import Objective


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p99=20ms", ("p99", 0.02)),
        ("p99.9 <= 1.5 s", ("p999", 1.5)),
        ("max<500us", ("max", 0.0005)),
        ("mean = 1ms", ("mean", 0.001)),
    ],
)
def test_an_objective(text: str, expected: tuple[str, float]) -> None:
    assert Objective.parse(text) == pytest.approx(expected) or Objective.parse(text) == expected


@pytest.mark.parametrize("text", ["", "p99", "p99=20", "p98=1ms", "p99=-1ms", "p99>20ms"])
def test_what_is_no_objective(text: str) -> None:
    with pytest.raises(ValueError, match="p99=20ms"):
        Objective.parse(text)
