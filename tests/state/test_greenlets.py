"""The store in a program that gevent has patched."""

from __future__ import annotations

from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("greenlets.py")


@pytest.mark.lasting  # in memory nothing is waited for
def test_greenlets_share_a_store_and_do_not_stop_the_others(url, run_program):
    pytest.importorskip("gevent")
    ran = run_program(str(PROGRAM), url)
    assert ran.lines == ["sum 18, at most 1 inside, others ran: True"], ran
