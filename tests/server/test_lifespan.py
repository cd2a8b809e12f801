"""A lifespan that raises: no server, no hang, one line that says where, and the traceback of the
user's own code at most.
"""

from __future__ import annotations

import pytest
import ringback
from ringback.errors import UsageError

HEAD = """
import ringback

service = ringback.Service("broken")


def connect():
    raise {raised}


@service.lifespan
"""

SYNC = (
    HEAD
    + """
def resources():
    connect()
    yield
"""
)
ASYNC = (
    HEAD
    + """
async def resources():
    connect()
    yield
"""
)
AT_FACTORY = (
    HEAD
    + """
def resources():
    connect()
"""
)

RAISED = {
    "an exception": ("KeyError('no database')", "KeyError: 'no database'"),
    "SystemExit": ("SystemExit('no database')", "SystemExit: no database"),
    "KeyboardInterrupt": ("KeyboardInterrupt", "KeyboardInterrupt"),
    "a BaseException": ("BaseException('no database')", "BaseException: no database"),
}
LINE = 8  # of HEAD's `raise`


def start(run_program, tmp_path, source: str, *options: str):
    path = tmp_path / "broken.py"
    path.write_text(source)
    command = ("-m", "ringback.server", "broken.py:service", "--bind", "tcp://127.0.0.1:*")
    return path, run_program(*command, *options)


def tell(ran) -> list[str]:
    """What it said, without the log of a supervisor."""
    return [line for line in ran.err.splitlines() if "ringback.supervisor" not in line]


@pytest.mark.parametrize(
    "source", [SYNC, ASYNC, AT_FACTORY], ids=["sync", "async", "at the factory"]
)
@pytest.mark.parametrize("raised", list(RAISED))
def test_a_lifespan_that_raises_is_one_line_and_the_users_own_traceback(
    backend: str, run_program, tmp_path, source: str, raised: str
) -> None:
    text, shown = RAISED[raised]
    path, ran = start(run_program, tmp_path, source.format(raised=text), "--backend", backend)
    assert (ran.status, ran.out) == (3, ""), ran
    said = tell(ran)
    place = f"{path}:{LINE}"
    assert said[-1] == f"ringback: the server did not start: its lifespan raised {shown} at {place}"
    frames = [line for line in said if line.startswith("  File ")]
    assert [frame.split('"')[1] for frame in frames] == [str(path)] * 2, ran


def test_many_processes_end_with_the_status_of_the_first(run_program, tmp_path) -> None:
    source = ASYNC.format(raised=RAISED["an exception"][0])
    path, ran = start(run_program, tmp_path, source, "--processes", "2")
    assert ran.status == 3, ran
    assert "Traceback" in ran.err
    assert f"its lifespan raised KeyError: 'no database' at {path}:{LINE}" in ran.err
    assert ran.err.count("ringback: the server did not start") == 1


def test_a_lifespan_that_is_no_context_manager_is_told(run_program, tmp_path) -> None:
    source = HEAD.format(raised="KeyError") + "def resources():\n    return 5\n"
    _, ran = start(run_program, tmp_path, source)
    assert (ran.status, len(tell(ran))) == (3, 1), ran
    assert "the lifespan of broken gave 5, not a context manager" in ran.err


def test_a_lifespan_that_never_yields_is_told(run_program, tmp_path) -> None:
    source = HEAD.format(raised="KeyError") + "def resources():\n    if False:\n        yield\n"
    _, ran = start(run_program, tmp_path, source)
    assert (ran.status, len(tell(ran))) == (3, 1), ran
    assert "its lifespan raised RuntimeError: generator didn't yield" in ran.err


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("error", [KeyError("db"), SystemExit(7), UsageError("no")], ids=repr)
def test_an_embedded_server_raises_what_its_lifespan_raised(error, asynchronous: bool) -> None:
    service = ringback.Service("broken")
    if asynchronous:

        @service.lifespan
        async def resources():
            raise error
            yield

    else:

        @service.lifespan
        def resources():
            raise error
            yield

    server = ringback.Server(service, "tcp://127.0.0.1:*", backend="threading")
    with pytest.raises(type(error)) as caught:
        server.__enter__()
    assert caught.value is error
    assert "the server did not start" in error.__notes__[0]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_what_a_lifespan_raises_at_its_end_is_logged(
    backend: str, run_program, tmp_path, asynchronous: bool
) -> None:
    (tmp_path / "ends.py").write_text(
        "import os, signal, sys, threading\n"
        "import ringback\n"
        "service = ringback.Service('ends')\n"
        "@service.lifespan\n"
        f"{'async ' if asynchronous else ''}def resources():\n"
        "    yield\n"
        "    sys.exit('at its end')\n"
        "def ready(server):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "server = ringback.Server(service, 'tcp://127.0.0.1:*', backend=sys.argv[1])\n"
        "print(server.run(ready))\n"
    )
    ran = run_program("ends.py", backend)
    assert (ran.status, ran.out) == (0, "0\n"), ran
    assert "the lifespan of ends raised at its end" in ran.err
