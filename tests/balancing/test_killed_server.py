"""A server is killed with 150 calls in flight, and another one is healthy: nobody who has time sees
it, and nothing runs twice.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
import ringback
from processes import SOON
from ringback import errors
from ringback.balancing import Load, Policy
from ringback.state import open_state

KILLED = Path(__file__).with_name("killed.py")
L = TypeVar("L", bound=Load)
EACH = 50


class Given(Policy):
    """The server that was named first, as long as it is there."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def choose(self, among: Sequence[L], now: float) -> L:
        return next((load for load in among if load.endpoint == self._endpoint), among[0])


@pytest.mark.timeout(120)
def test_calls_of_a_killed_server_are_answered_by_another(
    start_server: Any, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    runs.touch()
    monkeypatch.setenv("RUNS", str(runs))
    store = f"sqlite:///{tmp_path / 'state.db'}"
    first, second = (
        start_server(backend, "service", "--state", store, path=KILLED) for _ in range(2)
    )
    policy = Given(first.endpoint)
    with ringback.connect(first.endpoint, second.endpoint, policy=policy, timeout=20.0) as client:
        for _ in range(2):
            client.call_all("ringback.ping")  # so that both are known
        naps, payments, mails = [], [], []
        for number in range(EACH):
            naps.append(client.fire("nap", 0.4))
            payments.append(
                client.options(idempotency_key=f"pay {number}").fire("pay", 0.2, str(number))
            )
            mails.append(
                client.options(idempotency_key=f"mail {number}").fire("mail", 0.2, str(number))
            )
        time.sleep(0.3)
        first.kill()
        assert [nap.result(2 * SOON) for nap in naps] == [0.4] * EACH
        assert [payment.result(2 * SOON) for payment in payments] == [1] * EACH
        outcomes = [mail.exception(2 * SOON) for mail in mails]
    with open_state(store) as state:
        assert [state.get(f"paid/{number}") for number in range(EACH)] == [1] * EACH
    sent = Counter(runs.read_text().split())
    assert sent.most_common(1)[0][1] == 1  # none twice
    for number, outcome in enumerate(outcomes):
        assert str(number) in sent
        assert outcome is None or type(outcome) is errors.Aborted
