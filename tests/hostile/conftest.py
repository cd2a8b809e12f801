"""The table at the end of the run: what an honest client noticed of each attack, and what the
server held.
"""

from __future__ import annotations

import pytest

Row = tuple[str, str, int, float, float, float, float, float, float]
_rows: list[Row] = []


@pytest.fixture
def table() -> list[Row]:
    """Rows: backend, attack, honest calls, their p50, p99 and slowest in ms, MiB of growth at the
    highest
    and at the end, and the ms that one message of the attack takes by itself."""
    return _rows


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _rows:
        return
    terminalreporter.section(
        "an honest client beside each attack; the server's memory above its start"
    )
    terminalreporter.line(
        f"{'backend':<10}{'attack':<38}{'calls':>8}{'p50 ms':>9}{'p99 ms':>9}{'worst ms':>10}{'most MiB':>10}{'after MiB':>10}{'one ms':>8}"
    )
    for backend, attack, calls, p50, p99, worst, most, after, one in _rows:
        terminalreporter.line(
            f"{backend:<10}{attack:<38}{calls:>8,}{p50:>9.2f}{p99:>9.2f}{worst:>10.1f}{most:>10.1f}{after:>10.1f}{one:>8.1f}"
        )
