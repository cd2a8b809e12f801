"""The page: everything is in it, nothing of it comes from elsewhere, and nobody's name can break it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from math import log
from pathlib import Path
from typing import Any

import plotly.offline
import pytest
from msgspec.structs import replace
from ringback.compare.report import page, plots
from ringback.compare.report.difference import RUNS, changes
from ringback.compare.report.page import _answers, _cells, _claims, _trust, html
from ringback.compare.report.reading import read
from ringback.compare.results import Report
from ringback.errors import UsageError
from samples import STYLES, cell, finished, report, result, whole

SECTIONS = (
    *("verdict", "trust", "claims", "throughput", "cost", "response", "drift"),
    *("searches", "peers", "figures", "environment"),
)


@pytest.fixture(scope="module", autouse=True)
def _light() -> Iterator[None]:
    """Without the five megabytes of plotly, which no test reads but that of the browser."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "get_plotlyjs", lambda: "plotly")
        yield


class Page(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source = text
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

    @property
    def sections(self) -> list[str]:
        return [name for name in self.ids if name in SECTIONS]

    @property
    def figures(self) -> list[dict[str, Any]]:
        return [json.loads(script) for script in self.scripts if script.startswith('{"data"')]


@pytest.fixture(scope="module")
def full() -> Page:
    return Page(html(finished(whole())))


def test_every_section_is_there_and_says_what_it_is_for(full: Page) -> None:
    assert full.sections == list(SECTIONS)
    assert full.text.count("?") >= len(SECTIONS) - 2
    for word in (
        *("asyncio", "threads & more", "p99 <= 20 ms", "hatched", "ringback compare"),
        *("io, fire-and-callback", "echo-rate, fire-and-callback: 1,", "lone, request-reply"),
    ):
        assert word in full.text
    plots = [name for name in full.ids if name.startswith("plot-")]
    assert len(plots) == len(full.figures) >= 10
    assert all(each["data"] for each in full.figures)


def test_nothing_comes_from_elsewhere(full: Page) -> None:
    assert full.addresses
    assert all(address.startswith("#") for address in full.addresses)
    assert {address.removeprefix("#") for address in full.addresses} <= set(full.ids)
    assert not re.search(r"@import|url\(", full.source.partition("</style>")[0])


# Answers


def test_the_answer_comes_first_with_each_arm_beside_the_best(full: Page) -> None:
    made = report(*cell({"asyncio": 1000.0, "gevent": 800.0, "twisted": 500.0}))
    [answer] = _answers(finished(made))
    assert (answer.name, f"{answer.name}: {answer.sentence}") == ("io, request-reply", made.verdict.text[0])
    assert [each.arm for each in answer.strips] == ["asyncio", "gevent", "twisted"]
    best, *others = answer.strips
    assert (best.low, best.ratio, best.high, best.text) == (answer.one, answer.one, answer.one, "the best")
    assert float(others[-1].text.split()[0]) == pytest.approx(0.5, rel=0.03)
    for each in others:
        assert each.low < each.ratio < each.high < answer.one  # it is worse
        assert each.text.endswith("worse, sure")
    assert len({each.colour for each in answer.strips}) == 3
    shown = full.text.index("twisted; threading")
    assert shown < full.text.index("Can I trust this?", shown) < full.text.index("Every claim", shown)


@pytest.mark.parametrize(
    ("speeds", "noise"),
    [
        ({"asyncio": 1000.0, "gevent": 1.0, "twisted": 900.0}, 0.003),  # far beyond the end
        ({"asyncio": 1000.0, "gevent": 990.0}, 1.5),  # which nobody knows anything of
        ({"asyncio": 1000.0, "gevent": 1000.0}, 0.0),
    ],
)
def test_strips_stay_within_their_ends_and_have_one_scale(speeds: dict[str, float], noise: float) -> None:
    others = [each for name in ("cpu", "lone") for each in cell({"asyncio": 10.0, "gevent": 7.0}, name)]
    made = finished(report(*cell(speeds, noise=noise), *others))
    found = _answers(made)
    assert len(found) == 3
    [one] = {each.one for each in found}
    assert 0 < one < 100
    claims = {(each.workload, each.against): each.turned() for each in made.claims}
    scale = []
    for answer in found:
        for strip in answer.strips:
            assert 0 <= strip.low <= strip.ratio <= strip.high <= 100
        for strip in answer.strips[1:]:
            ratio = claims[answer.name.partition(",")[0], strip.arm].ratio
            if 0 < strip.ratio < 100 and abs(log(ratio)) > 0.1:
                scale.append((strip.ratio - one) / log(ratio))
    assert scale == pytest.approx([scale[0]] * len(scale), rel=0.02)  # wherever it stands
    for left, width in re.findall(r"left: ([-\d.e]+)%; width: ([-\d.e]+)%", html(made)):
        assert 0 <= float(left) <= float(left) + float(width) <= 100.1


def test_a_run_that_cannot_be_trusted_says_so_first_and_draws_no_claims() -> None:
    made = report(*cell({"asyncio": 1000.0, "gevent": 800.0}))
    made.results[0].wrong = 1
    shown = Page(html(finished(made)))
    assert not made.verdict.trusted
    assert shown.source.index('class="warning"') < shown.source.index("Can I trust this?</h2>")
    assert "claims" not in shown.ids
    assert "throughput" in shown.ids
    assert 'class="strip"' not in shown.source
    # Though it has claims, of a file that says so.
    made = finished(report(*cell({"asyncio": 1000.0, "gevent": 800.0})))
    made.verdict = type(made.verdict)(["This run cannot be trusted."], trusted=False)
    assert 'class="strip"' not in html(made)


def test_every_claim_is_in_a_table_with_its_figure() -> None:
    both = [*cell({"asyncio": 1200.0}), *cell({"asyncio": 3600.0}, "io", STYLES[1])]
    found = _claims(finished(report(*cell({"asyncio": 1000.0, "gevent": 500.0}, "lone"), *both)))
    assert found is not None
    rows = [dict(zip(found.head, row, strict=True)) for row in found.rows]
    assert [(row["what"], row["figure"], row["beside"], row["it is"]) for row in rows] == [
        ("lone, request-reply: asyncio", "median time", "gevent", "better, sure"),
        ("io, fire-and-callback: asyncio", "calls/s", "io, request-reply: asyncio", "better, sure"),
    ]
    assert [float(row["ratio"]) for row in rows] == pytest.approx([2.0, 3.0], rel=0.05)


# Plots


def test_bars_begin_at_0_are_hatched_where_they_are_lower_bounds_and_grey_where_they_are_no_arms() -> None:
    made = whole()
    calls, costs = list(plots.throughput(made)), list(plots.cost(made))
    assert [plot.title.partition(":")[0] for plot in calls] == ["lone", "echo", "io", "cpu"]
    assert [plot.title.partition(":")[0] for plot in costs] == ["lone", "echo", "echo-rate", "io", "cpu"]
    for plot in (*calls, *costs):
        assert plot.figure.layout.yaxis.rangemode == "tozero"
        assert {bars.type for bars in plot.figure.data} == {"bar"}
        assert all(len(set(bars.x)) == len(bars.x) for bars in plot.figure.data)
    hatched = {
        (name, x)
        for name, found in (("calls", calls), ("costs", costs))
        for plot in found
        for bars in plot.figure.data
        for x, shape in zip(bars.x, bars.marker.pattern.shape, strict=True)
        if shape
    }
    assert hatched == {("calls", "gevent")}  # whatever the client is the limit of, a cost is the server's own
    assert ["gevent", "client: a lower bound"] in [[row[0], row[-1]] for row in calls[1].rows]
    [peer] = [row for row in calls[2].rows if row[0] == "rpyc"]
    assert peer[-1] == "own client"
    bars = calls[2].figure.data[0]
    assert bars.marker.color[bars.x.index("rpyc")] == "#888888"


def test_bars_have_the_interval_of_their_figure_in_its_unit() -> None:
    made = finished(report(*cell({"asyncio": 1000.0}, noise=0.05)))
    [found] = made.results
    for plotted, value, interval, scale in (
        (plots.throughput, found.throughput, found.interval.throughput, 1.0),
        (plots.cost, found.server_cpu, found.interval.server_cpu, 1e6),
    ):
        [plot] = plotted(made)
        [bars] = plot.figure.data
        assert bars.y[0] == pytest.approx(value * scale)
        assert bars.y[0] - bars.error_y.arrayminus[0] == pytest.approx(interval[0] * scale)
        assert bars.y[0] + bars.error_y.array[0] == pytest.approx(interval[1] * scale)


def test_with_several_clients_no_two_lines_or_bars_of_a_plot_have_one_name() -> None:
    made = report(
        *(
            replace(each, client=client)
            for workload, style in (("io", STYLES[0]), ("io", STYLES[1]), ("echo-rate", STYLES[1]))
            for each in cell({"asyncio": 1000.0, "gevent": 800.0}, workload, style)
            for client in ("threading", "asyncio", "gevent", "raw")
        )
    )
    names = {"asyncio", "asyncio, asyncio client", "gevent, asyncio client", "asyncio, gevent client"}
    for plot in (*plots.throughput(made), *plots.cost(made)):
        for bars in plot.figure.data:
            assert len(set(bars.x)) == len(bars.x) == 8
            assert names <= set(bars.x)
    for plot in (*plots.response(made), *plots.drift(made)):
        found = [each.name for each in plot.figure.data]
        assert len(set(found)) == len(found) == 8
        looks = [(each.marker.symbol, each.marker.color or each.line.color) for each in plot.figure.data]
        assert len(set(looks)) >= 6


def test_response_times_are_drawn_where_calls_come_at_a_rate_or_one_by_one() -> None:
    made = whole()
    for each in made.results:
        each.concurrency = 1 if each.workload == "lone" else 64
    found = list(plots.response(made))
    assert [plot.title for plot in found] == [
        "lone, request-reply: one call in flight",
        "echo-rate, fire-and-callback: 1,019 calls/s",
    ]
    for plot in found:
        for curve in plot.figure.data:
            assert list(curve.y) == sorted(curve.y)
    assert found[1].head[-2:] == ["p99 from sent", "p99 sent late"]


def test_an_arm_is_named_and_its_backend_is_not_confused_with_it() -> None:
    limited = [replace(each, arm="asyncio-limited") for each in cell({"asyncio": 500.0}, seed=2)]
    made = finished(report(*cell({"asyncio": 1000.0}), *limited))
    [answer] = _answers(made)
    assert [each.arm for each in answer.strips] == ["asyncio", "asyncio-limited"]
    assert {row[2] for row in _cells(made.results).rows} == {"asyncio", "asyncio-limited"}


def test_drift_has_every_round_beside_the_mean_of_its_cell() -> None:
    [plot] = plots.drift(report(result("asyncio", "io", STYLES[0], [900.0, 1000.0, 1100.0])))
    [points] = plot.figure.data
    assert list(points.x) == [10.0, 20.0, 30.0]
    assert list(points.y) == pytest.approx([0.9, 1.0, 1.1])


# Tables


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


def test_a_cell_has_its_errors_by_code_its_rate_and_dashes_for_ranks_of_too_few_calls() -> None:
    bad = {"errors": 2, "errors_by_code": {"INTERNAL": 2}}
    made = [result("asyncio", "echo-rate", STYLES[1], [1e3], calls=calls, **bad) for calls in (100, 100_000)]
    few, many = (dict(zip(_cells(made).head, row, strict=True)) for row in _cells(made).rows)
    assert (few["p99"], few["p99.9"], few["errors"], few["load"]) == ("-", "-", "2 INTERNAL", "1,000/s")
    assert (many["p99"], many["p99.9"], many["calls/s"]) == ("20.0", "25.0", "1,000")


def test_names_cannot_break_the_page() -> None:
    evil = "</script><b>evil</b>"
    made = report(*cell({"asyncio": 1000.0, "gevent": 800.0}), failures=["<i>told</i>"])
    made.results[1].arm = evil
    shown = Page(html(finished(made)))
    assert evil in shown.text
    assert "<i>told</i>" in shown.text
    assert shown.sections == [*SECTIONS[:5], "drift", "figures", "environment"]


def test_sections_without_figures_are_left_out() -> None:
    shown = Page(html(finished(report())))
    assert shown.sections == ["verdict", "trust", "figures", "environment"]
    assert "Nothing was compared." in shown.text
    shown = Page(html(finished(report(result("asyncio", "io", STYLES[0], [1.0])))))
    assert "throughput" in shown.ids
    assert "claims" not in shown.ids


def test_what_changed_comes_first() -> None:
    before, after = (
        [finished(report(*cell({"asyncio": speed}, seed=seed))) for seed in range(RUNS)]
        for speed in (1000.0, 800.0)
    )
    shown = Page(html(after[-1], changes(before, after)))
    assert shown.ids[0] == "changes"
    assert "worse" in shown.text
    one = Page(html(after[-1], changes(before[:1], after[:1])))
    assert one.ids[0] == "changes"
    assert "1 and 1 runs claim nothing" in one.text
    assert "worse" not in one.text.partition("What to choose")[0].partition("server CPU")[2]


def test_a_browser_draws_every_plot_and_a_phone_is_wide_enough(tmp_path: Path, full: Page) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium")
    # A frame is as narrow as a phone, which a window of the browser itself cannot be.
    text = full.source.replace("<script>plotly</script>", f"<script>{plotly.offline.get_plotlyjs()}</script>")
    tell = (
        "<script>document.title = 'WIDTH ' + document.documentElement.scrollWidth + ' PLOTS ' + "
        "document.querySelectorAll('.plot .main-svg').length; parent.postMessage(document.title, '*')</script>"
    )
    (tmp_path / "report.html").write_text(text.replace("</body>", f"{tell}</body>"), encoding="utf-8")
    frame = tmp_path / "phone.html"
    frame.write_text(
        "<iframe src='report.html' width='390' height='800' style='border: 0'></iframe><pre id='told'></pre>"
        "<script>addEventListener('message', (event) => { document.getElementById('told').textContent = event.data; })</script>"
    )
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom"]
    done = subprocess.run(
        [chromium, *options, frame.as_uri()], capture_output=True, text=True, timeout=50, check=True
    )
    told = re.search(r"WIDTH (\d+) PLOTS (\d+)", done.stdout)
    assert told is not None, done.stdout[-500:]
    assert int(told[1]) <= 390
    assert int(told[2]) >= 2 * text.count('class="plot"')


# Reports that were written before


def read_again(tmp_path: Path, content: dict[str, Any]) -> Report:
    file = tmp_path / "f"
    file.write_text(json.dumps(content))
    return read(str(file))


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    now = finished(whole())
    assert read_again(tmp_path, json.loads(now.json())) == now


@pytest.mark.parametrize("schema", [1, 3])
def test_another_schema_is_refused_in_one_line(schema: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        read_again(tmp_path, {"schema": schema, "comparisons": []})
    assert str(refused.value) == (
        f"{tmp_path / 'f'} has schema {schema}: this version of ringback reads schema 2"
    )
