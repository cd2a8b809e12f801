"""The metrics that the files of deploy/ and the documentation name exist, with these labels; and
the documentation names them all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client.core import Metric
from ringback.metrics.families import families
from ringback.metrics.recorder import CallRecorder, Histogram
from ringback.metrics.snapshot import Calls, ClientSnapshot, ServerSnapshot

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "ringback.json"
# Labels that Prometheus gives to all.
ITS_OWN = {"job", "instance", "le"}


def snapshots() -> Iterator[ServerSnapshot | ClientSnapshot]:
    """With a sample of everything."""
    recorder = CallRecorder()
    for is_stream in (False, True):
        recorder.ended("add", "OK", 0.1, is_stream=is_stream)
    one = {"add": 1}
    lag = {"asyncio": Histogram()}
    yield ServerSnapshot(
        Calls.of(recorder),
        {"add": {"hit": 1}},
        lag,
        one,
        {0: 1},
        {"workers": 1},
        {"workers": 1},
        one,
        1,
        1,
    )
    yield ClientSnapshot(Calls.of(recorder), {("calc", "lost"): 1})


@pytest.fixture(scope="module")
def there() -> dict[str, set[str]]:
    """The labels of each sample, by its name."""
    metrics: list[Metric] = [metric for each in snapshots() for metric in families(each)]
    assert all(metric.samples for metric in metrics)
    return {sample.name: set(sample.labels) for metric in metrics for sample in metric.samples}


def expressions() -> Iterator[str]:
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def named_in(expression: str) -> list[str]:
    """The metrics of an expression."""
    return re.findall(r"\b(?:ringback|rpc)_\w+", re.sub(r"by \([^)]*\)", "", expression))


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_asks_for_what_is_there(expression: str, there: dict[str, set[str]]) -> None:
    names = named_in(expression)
    assert names
    known = set.union(*(there[name] for name in names), ITS_OWN)
    for labels in re.findall(r"by \(([^)]*)\)", expression):
        assert {label.strip() for label in labels.split(",")} <= known
    for selector in re.findall(r"\{([^}]*)\}", expression):
        assert {*re.findall(r'(\w+)(?:=|!=|=~|!~)"', selector)} <= known


def test_an_alert_names_labels_that_it_has() -> None:
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            labels = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
            by = re.search(r"by \(([^)]*)\)", rule["expr"])
            has = (
                {label.strip() for label in by[1].split(",")} if by else {"instance", "pool", "job"}
            )
            assert labels <= has, rule["alert"]


def test_the_documentation_has_each_metric_with_its_labels(there: dict[str, set[str]]) -> None:
    rows = re.findall(
        r"^\| (`(?:ringback|rpc)_.*?) \| (\w+) \| (.*?) \|",
        (ROOT / "docs" / "operate" / "observe.md").read_text(),
        re.M,
    )
    documented = {}
    for names, kind, labels in rows:
        for name in re.findall(r"`(\w+)`", names):
            documented[f"{name}_bucket" if kind == "histogram" else name] = set(
                re.findall(r"`(\w+)`", labels)
            )
    assert documented == {
        name: labels - {"le"}
        for name, labels in there.items()
        if not name.endswith(("_sum", "_count"))
    }


def test_the_dashboard_shows_each_metric(there: dict[str, set[str]]) -> None:
    shown = {name for expression in expressions() for name in named_in(expression)}
    assert shown == {name for name in there if not name.endswith(("_sum", "_count"))}
