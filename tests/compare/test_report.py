"""The page: everything is in it, nothing of it comes from elsewhere, and nobody's name can break it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ringback.compare.report.difference import changes
from ringback.compare.report.page import _cells, _trust, html
from ringback.compare.report.plots import drift, forest
from ringback.compare.report.reading import read
from ringback.compare.report.verdict import verdict
from ringback.compare.results import SCHEMA, Report
from ringback.compare.statistics.analysis import analyse
from ringback.compare.statistics.predictions import predict
from ringback.errors import UsageError
from samples import STYLES, cell, environment, report, result, whole

SECTIONS = (
    *("verdict", "trust", "claims", "throughput", "response", "cost", "styles", "drift"),
    *("searches", "models", "peers", "figures", "environment"),
)


def finished(made: Report) -> Report:
    analyse(made, [])
    predict(made)
    made.verdict = verdict(made)
    return made


class Page(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data", "action"):
                self.addresses.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data
        else:
            self.text += data


def test_every_section_is_there_and_says_what_it_is_for() -> None:
    page = Page(html(finished(whole())))
    assert [name for name in page.ids if name in SECTIONS] == list(SECTIONS)
    assert page.text.count("?") >= len(SECTIONS) - 2
    for word in (
        "asyncio",
        "threads & more",
        "p99 <= 20 ms",
        "hatched",
        "asymptotic bounds",
        "ringback compare",
    ):
        assert word in page.text
    plots = [name for name in page.ids if name.startswith("plot-")]
    figures = [script for script in page.scripts if script.startswith('{"data"')]
    assert len(plots) == len(figures) >= 12
    for figure in figures:
        assert json.loads(figure)["data"]


def figures_of(made: Report) -> list[dict[str, Any]]:
    page = Page(html(made))
    return [json.loads(script) for script in page.scripts if script.startswith('{"data"')]


def test_with_several_clients_no_two_lines_of_a_plot_have_one_name() -> None:
    made = whole()
    twins = [
        msgspec.structs.replace(each, client=client)
        for each in made.results
        for client in ("asyncio", "gevent")
        if each.backend in ("asyncio", "gevent")
    ]
    made.results += twins
    for figure in figures_of(finished(made)):
        traces = [
            (each["name"], each.get("legendgroup"), each.get("showlegend", True), each.get("mode"))
            for each in figure["data"]
            if "name" in each
        ]
        assert len(set(traces)) == len(traces), traces
        if not traces:  # the claims, a row for each
            rows = [each["y"][0] for each in figure["data"]]
            assert len(set(rows)) == len(rows)
    text = html(made)
    for name in ("asyncio, asyncio client", "gevent, gevent client", "asyncio, gevent client"):
        assert name in text


def test_times_are_shown_by_arm_and_style_in_closed_loops_too() -> None:
    text = Page(html(finished(whole()))).text
    for title in (
        "echo-rate, fire-and-callback: response time at 1,",
        "echo: round trip with 64 calls in flight, from the median",
        "io, request-reply: round trip with 64 calls in flight",
    ):
        assert title in text


def test_claims_are_drawn_beside_the_best_of_the_cell_and_below_1_where_they_are_worse() -> None:
    made = finished(report(*cell({"asyncio": 1000.0, "gevent": 800.0, "twisted": 500.0})))
    [plot] = forest(made)
    head, rows = plot.head, plot.rows
    assert [row[head.index("claim")] for row in rows] == ["io, wait: gevent", "io, wait: twisted"]
    assert {row[head.index("beside")] for row in rows} == {"asyncio"}
    assert [float(row[head.index("ratio")]) for row in rows] == pytest.approx([0.8, 0.5], rel=0.03)
    assert {row[head.index("it is")] for row in rows} == {"worse, sure"}
    assert {row[head.index("figure")] for row in rows} == {"calls/s"}
    for drawn in plot.figure.data:
        assert drawn.x[0] - drawn.error_x.arrayminus[0] < drawn.x[0] + drawn.error_x.array[0] < 1


def test_an_arm_is_named_and_its_backend_is_not_confused_with_it() -> None:
    limited = cell({"asyncio": 500.0}, seed=2)
    for each in limited:
        each.arm = "asyncio-limited"
    made = finished(report(*cell({"asyncio": 1000.0}), *limited))
    [plot] = forest(made)
    assert [row[0] for row in plot.rows] == ["io, wait: asyncio-limited"]
    assert {row[2] for row in _cells(made.results).rows} == {"asyncio", "asyncio-limited"}


def test_drift_has_every_round_beside_the_mean_of_its_cell() -> None:
    made = finished(report(result("asyncio", "io", STYLES[0], [900.0, 1000.0, 1100.0])))
    [plot] = drift(made)
    [points] = plot.figure.data
    assert list(points.x) == [10.0, 20.0, 30.0]
    assert list(points.y) == pytest.approx([0.9, 1.0, 1.1])


def trust(made: Report) -> dict[str, tuple[str, bool]]:
    return {name: (says, good) for name, says, good in _trust(made)}


def test_what_speaks_for_and_against_a_run_is_named() -> None:
    made = finished(report(*cell({"asyncio": 1000.0, "gevent": 800.0})))
    said = trust(made)
    assert said["replies"][1]
    assert said["limits"] == ("cells by what bound them: 2 waiting", True)
    assert "sight" in said
    assert "lower bounds" not in said
    made.results[0].limit = "client"
    made.results[1].wrong = 3
    made.failures = ["gevent: it died"]
    made.complete = False
    said = trust(finished(made))
    assert not said["replies"][1]
    assert said["lower bounds"][0].startswith("1 cells")
    assert said["limits"][0] == "cells by what bound them: 1 client, 1 waiting"
    assert "sight" not in said  # nothing is claimed
    assert said["failed"] == ("gevent: it died", False)
    assert not said["complete"][1]


def test_a_run_that_cannot_be_trusted_draws_no_claims() -> None:
    made = whole()
    made.results[0].wrong = 1
    assert not finished(made).verdict.trusted
    page = Page(html(made))
    assert "claims" not in page.ids
    assert "throughput" in page.ids


def test_percentiles_of_too_few_calls_are_dashes() -> None:
    few, many = (
        result("asyncio", "io", STYLES[0], [1000.0, 1000.0], calls=calls, workers=1)
        for calls in (100, 100_000)
    )
    for made, dashes in ((few, 1), (many, 0)):
        row = next(row for row in _cells([made]).rows if row[0] == "io")
        assert (row[8] == row[9] == "-") is bool(dashes)


def test_errors_have_their_codes_and_open_loops_their_rate() -> None:
    made = result("asyncio", "echo-rate", STYLES[1], [1000.0], errors=2, errors_by_code={"INTERNAL": 2})
    [row] = _cells([made]).rows
    assert "2 INTERNAL" in row
    assert "1,000/s" in row


def test_nothing_comes_from_elsewhere() -> None:
    page = Page(html(finished(whole())))
    assert page.addresses
    assert all(address.startswith("#") for address in page.addresses)
    assert not re.search(r"@import|url\(", html(report()).partition("</style>")[0])


def test_names_cannot_break_the_page() -> None:
    evil = "</script><b>evil</b>"
    made = whole()
    for each in made.results:
        if each.arm == "twisted":
            each.arm = evil
    made.failures.append("<i>told</i>")
    page = Page(html(finished(made)))
    assert evil in page.text
    assert "<i>told</i>" in page.text
    assert [name for name in page.ids if name in SECTIONS] == list(SECTIONS)


def test_sections_without_figures_are_left_out() -> None:
    page = Page(html(finished(report())))
    assert [name for name in page.ids if name in SECTIONS] == ["verdict", "trust", "figures", "environment"]
    assert "Nothing was compared." in page.text
    page = Page(html(finished(report(result("asyncio", "io", STYLES[0], [1.0])))))
    assert "throughput" in page.ids
    assert "claims" not in page.ids


def test_a_run_that_cannot_be_trusted_says_so_first() -> None:
    made = finished(whole())
    made.verdict = type(made.verdict)(["This run cannot be trusted."], trusted=False)
    text = html(made)
    assert text.index('class="warning"') < text.index("Can I trust this?</h2>")


def test_what_changed_comes_first() -> None:
    before, after = (
        finished(report(*cell({"asyncio": 1000.0}))),
        finished(report(*cell({"asyncio": 800.0}, seed=2))),
    )
    page = Page(html(after, changes(before, after)))
    assert page.ids[0] == "changes"
    assert "worse" in page.text


def test_a_browser_draws_every_plot_and_a_phone_is_wide_enough(tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium")
    page = tmp_path / "report.html"
    # A frame is as narrow as a phone, which a window of the browser itself cannot be.
    text = html(finished(whole())).replace(
        "</body>",
        "<script>document.title = 'WIDTH ' + document.documentElement.scrollWidth + ' PLOTS ' + "
        "document.querySelectorAll('.plot .main-svg').length; parent.postMessage(document.title, '*')</script></body>",
    )
    page.write_text(text, encoding="utf-8")
    frame = tmp_path / "phone.html"
    frame.write_text(
        "<iframe src='report.html' width='390' height='800' style='border: 0'></iframe><pre id='told'></pre>"
        "<script>addEventListener('message', (event) => { document.getElementById('told').textContent = event.data; })</script>"
    )
    done = subprocess.run(
        [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--virtual-time-budget=20000",
            "--dump-dom",
            frame.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    told = re.search(r"WIDTH (\d+) PLOTS (\d+)", done.stdout)
    assert told is not None, done.stdout[-500:]
    assert int(told[1]) <= 390
    assert int(told[2]) >= 2 * text.count('class="plot"')


# Reports that were written before

CLAIM: dict[str, Any] = {
    "workload": "io",
    "client": "threading",
    "style": STYLES[0],
    "p": 0.001,
    "p_holm": 0.002,
    "detectable": 0.02,
    "rounds": 8,
    "rounds_needed": None,
    "metric": "throughput",
    "backend": "asyncio",
}
FIRST: dict[str, Any] = {
    "schema": 1,
    "environment": {**msgspec.to_builtins(environment()), "warmup": 0.1, "window": 0.2},
    "comparisons": [
        {
            **CLAIM,
            "backend": "gevent",
            "best": "asyncio",
            "ratio": 0.8,
            "interval": [0.78, 0.82],
            "outcome": "worse",
        },
        {
            **CLAIM,
            "workload": "echo-rate",
            "metric": "p99",
            "backend": "twisted",
            "best": "asyncio",
            "ratio": 1.25,
            "interval": [1.2, 1.3],
            "outcome": "worse",
        },
        {
            **CLAIM,
            "backend": "twisted",
            "best": "asyncio",
            "ratio": 0.9,
            "interval": [0.7, 1.1],
            "outcome": "unclear",
        },
    ],
    "styles": [
        {
            **CLAIM,
            "style": STYLES[1],
            "than": STYLES[0],
            "ratio": 2.0,
            "interval": [1.8, 2.2],
            "outcome": "better",
        }
    ],
    "ways": [
        {
            **CLAIM,
            "workload": "balance",
            "way": "hedge",
            "than": "round-robin",
            "metric": "p99",
            "ratio": 0.5,
            "interval": [0.4, 0.6],
            "outcome": "better",
        },
        {
            **CLAIM,
            "workload": "counter",
            "way": "lock",
            "than": "none",
            "ratio": 0.5,
            "interval": [0.4, 0.6],
            "outcome": "worse",
        },
    ],
}


def read_again(tmp_path: Path, content: dict[str, Any]) -> Report:
    file = tmp_path / "f"
    file.write_text(json.dumps(content))
    return read(str(file))


def test_of_schema_1_every_claim_is_turned_so_that_above_1_is_better(tmp_path: Path) -> None:
    made = read_again(tmp_path, FIRST)
    told = [
        (each.arm, each.against, each.figure, each.ratio, each.low, each.high, each.verdict)
        for each in made.claims
    ]
    assert told == [
        ("asyncio", "gevent", "throughput", 1 / 0.8, 1 / 0.82, 1 / 0.78, "better"),  # the best comes first
        ("asyncio", "twisted", "p99", 1.25, 1.2, 1.3, "better"),
        ("asyncio", "twisted", "throughput", 1 / 0.9, 1 / 1.1, 1 / 0.7, "unclear"),
        ("asyncio", "asyncio", "throughput", 2.0, 1.8, 2.2, "better"),
        ("asyncio", "asyncio", "p99", 1 / 0.5, 1 / 0.6, 1 / 0.4, "better"),
        ("asyncio", "asyncio", "throughput", 0.5, 0.4, 0.6, "worse"),
    ]
    assert [each.sure for each in made.claims] == [True, True, False, True, True, True]
    assert [each.of_arms for each in made.claims] == [True] * 3 + [False] * 3
    *_, style, hedge, lock = made.claims
    assert (style.style, style.against_style) == (STYLES[1], STYLES[0])
    assert (style.of_styles, style.of_workloads) == (True, False)
    assert (hedge.workload, hedge.against_workload) == ("balance-hedge", "balance")
    assert (lock.workload, lock.against_workload) == ("counter-lock", "counter")
    assert (lock.of_styles, lock.of_workloads) == (False, True)
    assert {(each.p, each.detectable, each.rounds) for each in made.claims} == {(0.001, 0.02, 8)}


def test_of_schema_1_cells_searches_and_predictions_have_their_backend_for_an_arm(tmp_path: Path) -> None:
    [now] = msgspec.to_builtins([result("asyncio", "io", STYLES[0], [1000.0, 1000.0])])
    for name in ("arm", "server_cpu"):
        del now[name]
    now["limit"] = now["rounds"][0]["limit"] = "machine"
    for each in now["rounds"]:
        del each["slices"]
        each["contaminated"] = "x"
    cell = {"backend": "asyncio", "client": "threading", "style": STYLES[0], "workload": "io"}
    made = read_again(
        tmp_path,
        {
            **FIRST,
            "results": [now],
            "searches": [
                {**cell, "round": 1, "objective": "p99 <= 20 ms", "passes": 100.0, "fails": None, "steps": []}
            ],
            "predictions": [
                {
                    **cell,
                    "metric": "mean",
                    "model": "M/G/1",
                    "inputs": "",
                    "predicted": 1.0,
                    "measured": 2.0,
                    "error": -0.5,
                    "judgement": "fair",
                }
            ],
        },
    )
    [found] = made.results
    assert (found.arm, found.limit) == ("asyncio", "waiting")
    assert [each.limit for each in found.rounds] == ["waiting", "waiting"]
    assert found.server_cpu == found.cpu.server_per_call > 0
    assert made.searches[0].arm == "asyncio"
    assert (made.predictions[0].arm, made.predictions[0].figure) == ("asyncio", "mean")


def test_of_schema_1_a_run_that_cannot_be_trusted_claims_nothing(tmp_path: Path) -> None:
    untrusted = {"text": ["This run cannot be trusted."], "winners": {}, "caveats": [], "trusted": False}
    assert read_again(tmp_path, {**FIRST, "verdict": untrusted}).claims == []


def test_what_was_read_is_written_in_the_schema_of_today_and_read_again(tmp_path: Path) -> None:
    made = read_again(tmp_path, FIRST)
    assert made.schema == SCHEMA
    assert read_again(tmp_path, json.loads(made.json())) == made
    now = finished(whole())
    assert read_again(tmp_path, json.loads(now.json())) == now


@pytest.mark.parametrize("schema", [0, 3])
def test_another_schema_is_refused_in_one_line(schema: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        read_again(tmp_path, {**FIRST, "schema": schema})
    assert str(refused.value) == (
        f"{tmp_path / 'f'} has schema {schema}: this version of ringback reads schemas 1 and 2"
    )


@pytest.mark.parametrize("lacking", ["backend", "ratio", "interval", "best"])
def test_a_claim_of_schema_1_that_lacks_something_is_no_report(lacking: str, tmp_path: Path) -> None:
    claim = {name: value for name, value in FIRST["comparisons"][0].items() if name != lacking}
    with pytest.raises(UsageError, match="is no report of ringback compare"):
        read_again(tmp_path, {**FIRST, "comparisons": [claim]})
