"""The page: everything is in it, nothing of it comes from elsewhere, and nobody's name can break
it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import plotly.offline
import pytest
from msgspec.structs import replace
from ringback.compare.report import page, plots, rows
from ringback.compare.report.difference import RUNS, changes
from ringback.compare.report.page import html
from ringback.compare.report.reading import read
from ringback.compare.results import SCHEMA, Report
from ringback.errors import UsageError
from samples import STYLES, cell, environment, finished, printed, report, result, whole

SECTIONS = (
    *("verdict", "mind", "trust", "claims", "throughput", "cost", "response"),
    *("models", "figures", "environment"),
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
        *("asyncio", "threads & more", "Hatched", "asymptotic bounds", "ringback compare"),
        *(
            "io, fire-and-callback",
            "echo-rate, fire-and-callback: 1,",
            "lone, request-reply",
            "not valid",
        ),
    ):
        assert word in full.text
    assert "beyond a factor" not in full.text
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
    made = finished(
        report(
            *cell({"asyncio": 1000.0, "gevent": 800.0, "twisted": 500.0}),
            *cell({"asyncio": 700.0, "gevent": 1000.0}, "cpu"),
        )
    )
    [plot] = plots.beside_best(made)
    shown = {
        (label, trace.name): (x, x - less, x + more)
        for trace in plot.figure.data
        for label, x, less, more in zip(
            trace.y, trace.x, trace.error_x.arrayminus, trace.error_x.array, strict=True
        )
    }
    beside = [
        each.turned() for each in made.claims if (each.arm, each.against) != ("gevent", "twisted")
    ]
    assert shown == {
        (f"{each.workload}, {each.style}: {each.arm}", each.arm): pytest.approx(
            (each.ratio, each.low, each.high)
        )
        for each in beside
    }
    assert max(x for x, _, _ in shown.values()) < 1  # it is worse
    assert list(plot.figure.layout.yaxis.categoryarray)[-1] == "io, request-reply: gevent"
    text = full.text.index("twisted; threading")
    assert text < full.text.index("Can I trust this?", text) < full.text.index("Every claim", text)


def test_a_run_that_cannot_be_trusted_says_so_first_and_draws_no_claims() -> None:
    made = report(*cell({"asyncio": 1000.0, "gevent": 800.0}))
    made.results[0].wrong = 1
    shown = Page(html(finished(made)))
    assert not made.verdict.trusted
    assert shown.source.index('class="warning"') < shown.source.index("Can I trust this?</h2>")
    assert "claims" not in shown.ids
    assert "throughput" in shown.ids
    # Though it has claims, of a file that says so.
    made = finished(report(*cell({"asyncio": 1000.0, "gevent": 800.0})))
    made.verdict = type(made.verdict)(["This run cannot be trusted."], trusted=False)
    assert list(plots.beside_best(made)) == []


def test_every_claim_is_in_a_table_with_its_figure() -> None:
    both = [*cell({"asyncio": 1200.0}), *cell({"asyncio": 3600.0}, "io", STYLES[1])]
    found = rows.claimed(
        finished(report(*cell({"asyncio": 1000.0, "gevent": 500.0}, "lone"), *both))
    )
    each_has = [dict(zip(found.head, row, strict=True)) for row in found.rows]
    assert [(row[""], row["figure"], row["compared with"], row["verdict"]) for row in each_has] == [
        ("lone, request-reply: asyncio", "median time", "gevent", "better, sure"),
        ("io, fire-and-callback: asyncio", "calls/s", "io, request-reply: asyncio", "better, sure"),
    ]
    assert [float(row["ratio"].split()[0]) for row in each_has] == pytest.approx(
        [2.0, 3.0], rel=0.05
    )


# Plots


def test_bars_begin_at_0_are_hatched_where_they_are_lower_bounds_and_grey_where_they_are_no_arms() -> (
    None
):
    made = whole()
    calls, costs = list(plots.throughput(made)), list(plots.cost(made))
    assert [plot.title.partition(":")[0] for plot in calls] == ["lone", "echo", "io", "cpu"]
    assert [plot.title.partition(":")[0] for plot in costs] == [
        "lone",
        "echo",
        "echo-rate",
        "io",
        "cpu",
    ]
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
    assert hatched == {
        ("calls", "gevent")
    }  # whatever the client is the limit of, a cost is the server's own
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
    names = {
        "asyncio",
        "asyncio, asyncio client",
        "gevent, asyncio client",
        "asyncio, gevent client",
    }
    for plot in (*plots.throughput(made), *plots.cost(made)):
        for bars in plot.figure.data:
            assert len(set(bars.x)) == len(bars.x) == 8
            assert names <= set(bars.x)
    for plot in plots.response(made):
        found = [each.name for each in plot.figure.data]
        assert len(set(found)) == len(found) == 8
        looks = [
            (each.marker.symbol, each.marker.color or each.line.color) for each in plot.figure.data
        ]
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


def test_an_arm_is_named_and_its_backend_is_not_confused_with_it() -> None:
    limited = [replace(each, arm="asyncio-limited") for each in cell({"asyncio": 500.0}, seed=2)]
    made = finished(report(*cell({"asyncio": 1000.0}), *limited))
    [plot] = plots.beside_best(made)
    assert [trace.name for trace in plot.figure.data] == ["asyncio-limited"]
    assert {row[2] for row in rows.measured(made.results).rows} == {"asyncio", "asyncio-limited"}


# Tables


def trust(made: Report) -> dict[str, tuple[str, str]]:
    return {name: (good, says) for good, name, says in rows.trusted(made).rows}


def test_what_speaks_for_and_against_a_run_is_named() -> None:
    made = finished(report(*cell({"asyncio": 1000.0, "gevent": 800.0})))
    said = trust(made)
    assert {good for good, _ in said.values()} == {"ok"}
    assert {"replies", "sensitivity"} <= set(said)
    made.results[1].wrong = 3
    made.failures = ["gevent: it died"]
    made.complete = False
    said = trust(finished(made))
    assert "sensitivity" not in said  # nothing is claimed
    assert said["complete"] == ("no", "gevent: it died")
    assert [name for name, (good, _) in said.items() if good == "no"] == ["replies", "complete"]


def test_a_cell_has_its_errors_by_code_its_rate_and_dashes_for_ranks_of_too_few_calls() -> None:
    bad = {"errors": 2, "errors_by_code": {"INTERNAL": 2}}
    made = [
        result("asyncio", "echo-rate", STYLES[1], [1e3], calls=calls, **bad)
        for calls in (100, 100_000)
    ]
    table = rows.measured(made)
    few, many = (dict(zip(table.head, row, strict=True)) for row in table.rows)
    assert (few["p99"], few["p99.9"], few["notes"], few["load"]) == (
        "-",
        "-",
        "errors: 2 INTERNAL",
        "1,000/s",
    )
    assert (many["p99"], many["p99.9"], many["calls/s"]) == ("20.0", "25.0", "1,000")


def test_names_cannot_break_the_page() -> None:
    evil = "</script><b>evil</b>"
    made = report(
        *cell({"asyncio": 1000.0, "gevent": 800.0}), failures=["<i>told</i>"], complete=False
    )
    made.results[1].arm = evil
    shown = Page(html(finished(made)))
    assert evil in shown.text
    assert "<i>told</i>" in shown.text
    assert shown.sections == [*SECTIONS[:6], "models", "figures", "environment"]


def test_sections_without_figures_are_left_out() -> None:
    shown = Page(html(finished(report())))
    assert shown.sections == ["verdict", "mind", "environment"]
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
    assert "1 and 1 runs support no claims" in one.text
    assert "worse" not in one.text.partition("What to choose")[0].partition("server CPU")[2]


def test_a_browser_draws_every_plot_and_a_phone_is_wide_enough(tmp_path: Path, full: Page) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium")
    # A frame is as narrow as a phone, which a window of the browser itself cannot be.
    text = full.source.replace(
        "<script>plotly</script>", f"<script>{plotly.offline.get_plotlyjs()}</script>"
    )
    tell = (
        "<script>document.title = 'WIDTH ' + document.documentElement.scrollWidth + ' PLOTS ' + "
        "document.querySelectorAll('.plot .main-svg').length; parent.postMessage(document.title, "
        "'*')</script>"
    )
    (tmp_path / "report.html").write_text(
        text.replace("</body>", f"{tell}</body>"), encoding="utf-8"
    )
    frame = tmp_path / "phone.html"
    frame.write_text(
        "<iframe src='report.html' width='390' height='800' style='border: 0'></iframe><pre "
        "id='told'></pre>"
        "<script>addEventListener('message', (event) => { "
        "document.getElementById('told').textContent = event.data; })</script>"
    )
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=20000",
        "--dump-dom",
    ]
    done = subprocess.run(
        [chromium, *options, frame.as_uri()], capture_output=True, text=True, timeout=50, check=True
    )
    told = re.search(r"WIDTH (\d+) PLOTS (\d+)", done.stdout)
    assert told is not None, done.stdout[-500:]
    assert int(told[1]) <= 390
    assert int(told[2]) >= 2 * text.count('class="plot"')


# Reports that were written before


def claim(ratio: float, low: float, high: float, outcome: str, **sides: str) -> dict[str, Any]:
    ends = {"workload": "io", "client": "threading", "style": STYLES[0], "backend": "asyncio"}
    known = {"p": 0.001, "p_holm": 0.002, "detectable": 0.02, "rounds": 8, "rounds_needed": None}
    found = {"metric": "throughput", "ratio": ratio, "interval": [low, high], "outcome": outcome}
    return {**ends, **known, **found, **sides}


BESIDE = {"backend": "twisted", "best": "asyncio"}
FIRST: dict[str, Any] = {
    "schema": 1,
    "environment": {**msgspec.to_builtins(environment()), "warmup": 0.1, "window": 0.2},
    "comparisons": [
        claim(0.8, 0.78, 0.82, "worse", backend="gevent", best="asyncio"),
        claim(1.25, 1.2, 1.3, "worse", workload="echo-rate", metric="p99", **BESIDE),
        claim(0.9, 0.7, 1.1, "unclear", **BESIDE),
    ],
    "styles": [claim(2.0, 1.8, 2.2, "better", style=STYLES[1], than=STYLES[0])],
    "ways": [
        claim(
            0.5,
            0.4,
            0.6,
            "better",
            workload="balance",
            way="hedge",
            than="round-robin",
            metric="p99",
        ),
        claim(0.5, 0.4, 0.6, "worse", workload="counter", way="lock", than="none"),
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
        (
            "asyncio",
            "gevent",
            "throughput",
            1 / 0.8,
            1 / 0.82,
            1 / 0.78,
            "better",
        ),  # the best comes first
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


def first() -> dict[str, Any]:
    """A run of schema 1, with cells and a prediction."""
    results = msgspec.to_builtins(cell({"asyncio": 1000.0, "gevent": 800.0, "twisted": 900.0}))
    results += msgspec.to_builtins(cell({"asyncio": 1000.0, "twisted": 800.0}, "echo-rate"))
    for each in results:
        for name in ("arm", "server_cpu"):
            del each[name]
        each["limit"] = each["rounds"][0]["limit"] = "machine"
        for made in each["rounds"]:
            del made["slices"]
            made |= {"contaminated": "x", "service_mean": 1.0}
    ends = {"backend": "asyncio", "client": "threading", "style": STYLES[0], "workload": "io"}
    model = {"metric": "mean", "model": "M/G/1", "inputs": "", "predicted": 1.0, "measured": 2.0}
    return {
        **FIRST,
        "results": results,
        "verdict": {
            "text": ["io, request-reply: asyncio."],
            "winners": {"io, request-reply": ["asyncio"]},
        },
        "predictions": [{**ends, **model, "error": -0.5, "judgement": "fair"}],
    }


def test_of_schema_1_cells_and_predictions_have_their_backend_for_an_arm(tmp_path: Path) -> None:
    made = read_again(tmp_path, first())
    found = made.results[0]
    assert (found.arm, found.limit) == ("asyncio", "waiting")
    assert {each.limit for each in found.rounds} == {"waiting"}
    assert found.server_cpu == found.cpu.server_per_call > 0
    assert (made.predictions[0].arm, made.predictions[0].figure) == ("asyncio", "mean")


def test_a_file_of_schema_1_is_shown_drawn_and_compared(tmp_path: Path) -> None:
    made = read_again(tmp_path, first())
    table = printed(made)
    for words in ("io, request-reply: asyncio.", "0.80 (0.78..0.82) -", "p99 0.80 (0.77..0.83) -"):
        assert words in table
    shown = Page(html(made))
    assert {"verdict", "claims", "throughput", "models", "figures", "environment"} <= set(
        shown.sections
    )
    assert all(each["data"] for each in shown.figures)
    found = changes([made], [finished(report(*cell({"asyncio": 1000.0})))])
    assert {each.arm for each in found.differences} == {"asyncio"}


def test_of_schema_1_a_run_that_cannot_be_trusted_claims_nothing(tmp_path: Path) -> None:
    untrusted = {
        "text": ["This run cannot be trusted."],
        "winners": {},
        "caveats": [],
        "trusted": False,
    }
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
def test_a_claim_of_schema_1_that_lacks_something_is_no_report(
    lacking: str, tmp_path: Path
) -> None:
    claim = {name: value for name, value in FIRST["comparisons"][0].items() if name != lacking}
    with pytest.raises(UsageError, match="is not a report of ringback compare"):
        read_again(tmp_path, {**FIRST, "comparisons": [claim]})
