"""The wall clock is nobody's to trust: it is set back, as time servers and resumed virtual machines do, and calls go on."""

from __future__ import annotations

import pytest
from ringback import errors

# Runs in the server before anything is imported: each look at the wall clock shows an earlier time than the one before.
BACKWARDS = """
import itertools, time
looks, begun = itertools.count(), time.time()
time.time = lambda: begun - next(looks)
"""


def test_a_wall_clock_that_goes_back_holds_up_no_call(
    start_server, connected, backend, tmp_path, monkeypatch
):
    (tmp_path / "sitecustomize.py").write_text(BACKWARDS)
    with monkeypatch.context() as patched:
        patched.setenv("PYTHONPATH", str(tmp_path))
        server = start_server(backend)
    client = connected(server.endpoint).options(timeout=5.0)
    for method in ("add_inline", "add", "echo_async"):
        args = (7,) if method == "echo_async" else (3, 4)
        assert [client.call(method, *args) for _ in range(50)] == [7] * 50
    with pytest.raises(errors.RemoteError):
        client.call("fail", "on purpose")
    assert list(client.stream("count", 200)) == list(range(200))
    fired = [client.fire("add", number, 1) for number in range(500)]
    assert [future.result(5.0) for future in fired] == list(range(1, 501))
