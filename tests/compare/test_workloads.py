"""The workloads: their calls are all different, and their scripts know a right answer from a wrong
one.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from ringback.compare.scenario import Call, WrongReply, call, load
from ringback.compare.workloads import handlers, reads, variants
from ringback.compare.workloads.handlers import after, cpu
from ringback.compare.workloads.table import WORKLOADS
from ringback.errors import UsageError

SERVED = set(handlers.stateful.methods)

# Calls that belong to each other, or to the same thing, and so may be alike.
ALIKE = [name for name in WORKLOADS if variants.plain(name) in ("counter", "read")]
UNLIKE = [name for name in WORKLOADS if name not in ALIKE]


def answer(made: Call) -> Any:
    """What the service would return."""
    if made.method == "numbers":
        return list(handlers.numbers(*made.args))
    if made.method in ("read", "read_cached", "read_async"):
        return [made.args[1], reads.newest()]
    if made.method == "total_of" or made.method.startswith("add"):
        return [made.args[0], 1]
    return cpu(*made.args) if made.method == "cpu" else made.args[0]


def calls(name: str, count: int) -> list[Call]:
    script = WORKLOADS[name].script(itertools.count(), 10)
    made = [next(script)]
    while len(made) < count:
        made.append(script.send(answer(made[-1])))
    return made


@pytest.mark.parametrize("name", UNLIKE)
def test_no_two_calls_have_the_same_arguments(name: str) -> None:
    many = 20 if name == "payload-1m" else 300
    made = calls(name, many)
    assert len({each.args for each in made}) == many
    assert {each.method for each in made} == set(WORKLOADS[name].methods) <= SERVED


@pytest.mark.parametrize("name", WORKLOADS)
def test_no_two_measurements_make_the_same_calls(name: str) -> None:
    scripts = [WORKLOADS[name].script(itertools.count(first << 32), 10) for first in range(1, 20)]
    firsts = [next(script) for script in scripts]
    assert len({each.args for each in firsts}) == len(firsts)


@pytest.mark.parametrize("name", WORKLOADS)
@pytest.mark.parametrize("wrong", [None, b"", "text", 0, [1]])
def test_a_script_knows_a_wrong_answer(name: str, wrong: Any) -> None:
    script = WORKLOADS[name].script(itertools.count(1), 10)
    next(script)
    with pytest.raises(WrongReply):
        script.send(wrong)


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_answer_to_other_arguments_is_wrong(name: str) -> None:
    numbers = itertools.count()
    one, other = (WORKLOADS[name].script(numbers, 10) for _ in range(2))
    next(one)
    with pytest.raises(WrongReply):
        one.send(answer(next(other)))


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 1000, 4097])
def test_the_answer_of_cpu_is_known_without_its_work(steps: int) -> None:
    for start in (0, 1, 12345, 2**31 - 1):
        assert after(start, steps) == cpu(start, steps)


def test_a_tenth_of_mixed_is_slow_and_never_two_in_a_row() -> None:
    slow = [each.method == "cpu" for each in calls("mixed", 2000)]
    assert sum(slow) == pytest.approx(200, abs=2)
    assert not any(one and other for one, other in itertools.pairwise(slow))


def test_a_scenario_is_repeated_with_new_numbers(tmp_path: Path) -> None:
    file = tmp_path / "work.py"
    file.write_text(
        "from ringback.compare.scenario import call\n"
        "def scenario(number):\n"
        "    total = yield call('add', number, y=1)\n"
        "    assert total == number + 1, total\n"
    )
    loaded = load(str(file))
    assert loaded.check is None
    script = loaded.script(itertools.count(7), 0)
    assert next(script) == call("add", 7, y=1)
    assert script.send(8) == call("add", 8, y=1)
    with pytest.raises(AssertionError, match="10"):
        script.send(10)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("scenario = 3\n", "is not a scenario"),
        ("def scenario(number): return [number]\n", "is not a scenario"),
        ("def scenario(number):\n    yield 3\n", "yields 3 instead of a call"),
        ("def scenario(number):\n    return\n    yield\n", "yields None instead of a call"),
        ("def scenario(number):\n    yield unknown\n", "fails before its first call: NameError"),
        ("def other(number):\n    yield\n", "has no 'scenario'"),
    ],
)
def test_what_is_no_scenario_is_refused_with_the_reason(
    text: str, told: str, tmp_path: Path
) -> None:
    file = tmp_path / "bad.py"
    file.write_text(text)
    with pytest.raises(UsageError, match=told):
        load(str(file))
