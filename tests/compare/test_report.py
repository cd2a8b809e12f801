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
from ringback.compare.report.page import _cells, html
from ringback.compare.report.plots_of_times import over_time
from ringback.compare.report.verdict import verdict
from ringback.compare.results import Report
from ringback.compare.statistics.analysis import analyse
from ringback.compare.statistics.predictions import predict
from samples import STYLES, cell, report, result, whole

SECTIONS = (
    *("verdict", "trust", "claims", "throughput", "response", "time", "cost", "styles", "load", "drift"),
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
    made.sweep += [msgspec.structs.replace(each, client="asyncio") for each in made.sweep]
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


def test_times_are_shown_by_backend_and_style_in_closed_loops_too() -> None:
    text = Page(html(finished(whole()))).text
    for title in (
        "echo-rate, fire-and-callback: response time at 1,",
        "echo: round trip with 64 calls in flight, from the median",
        "io, request-reply: round trip with 64 calls in flight",
    ):
        assert title in text


def test_a_round_that_was_disturbed_is_shaded_once_for_all_backends() -> None:
    made = whole()
    for each in made.results:
        each.rounds = [msgspec.structs.replace(one, contaminated="x") for one in each.rounds]
    [plot] = over_time(made)
    assert len(plot.figure.layout.shapes) == len(made.results[0].rounds)


def test_a_run_that_cannot_be_trusted_draws_no_claims() -> None:
    made = finished(whole())
    made.verdict = type(made.verdict)(["This run cannot be trusted."], trusted=False)
    assert "claims" not in Page(html(made)).ids


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
        if each.backend == "twisted":
            each.backend = evil
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
