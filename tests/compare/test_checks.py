"""What `--self-check` measures, measured: coordinated omission, the generator's ceiling, Little's law; with RINGBACK_FULL all of it."""

from __future__ import annotations

import os

import pytest
from ringback.compare import checks
from ringback.compare.checks import SelfCheck


def test_an_open_loop_shows_a_stall_that_a_closed_one_hides() -> None:
    for check in SelfCheck()._stalls():
        assert check.ok, check.says


def test_the_generator_is_the_limit_before_a_server_that_does_nothing() -> None:
    check = SelfCheck()._ceiling()
    assert check.ok, check.says


def test_littles_law_closes_in_every_window() -> None:
    itself = SelfCheck()
    itself._ceiling()
    itself._wait()
    assert len(itself.windows) >= 5
    for check in itself._little():
        assert check.ok, check.says
    # And would not, if time were lost.
    itself.windows[0] = itself.windows[0]._replace(
        sample=type(itself.windows[0].sample)(calls=1, errors={}, wrong=0, timed=[], whole=0.98)
    )
    [broken] = itself._little()
    assert not broken.ok


@pytest.mark.skipif(not os.environ.get("RINGBACK_FULL"), reason="a minute; RINGBACK_FULL=1")
@pytest.mark.timeout(300)
def test_the_whole_self_check_passes() -> None:
    failed = [check.says for check in checks.SelfCheck().run() if not check.ok]
    assert failed == []
