"""The command line as a user meets it: real processes, their output, their exit status. Nothing
here imports ringback.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

# A command that takes longer has hung; it is far above what a loaded machine needs.
DEADLINE = 30.0

BACKENDS = ("asyncio", "gevent", "threading", "twisted")
STYLES = ("threading", "gevent", "asyncio", "twisted")
SCRIPTS = ("request_reply", "fire_and_callback")

ANY_PORT = "tcp://127.0.0.1:*"

SERVICE = """
import pathlib
import time

import ringback

service = ringback.Service("calc")
not_a_service = 42


@service.method
def add(a: int, b: int) -> int:
    "Sum of two integers."
    return a + b


@service.method(inline=True)
def echo(value):
    return value


@service.method
def deposit(account: str, amount: int):
    return [account, amount]


@service.method
def told():
    call = ringback.current_call()
    return [dict(call.metadata), call.priority]


@service.method
def count(n: int):
    yield from range(n)


@service.method
def broken(n: int):
    yield from range(n)
    raise ValueError("no more items")


@service.method
def fail(text: str):
    raise KeyError(text)


@service.method
def unserialisable():
    return object()


@service.method
def big(size: int) -> bytes:
    return bytes(size)


HOSTILE = "\\x1b[31mred\\x07\\x7f\\x9b31m\\u2028\\u202e"

RESULTS = {
    "nan": float("nan"),
    "infinity": [1.0, float("-inf")],
    "a tuple as key": {(1, 2): 3},
    "a key that is NaN": {float("nan"): 1},
    "bytes": b"\\xff\\x00",
    "a set": {7},
    "keys of many kinds": {"a": 1, 2: 3, None: 4, True: 5, b"a": 6},
    "a huge integer": 2**200,
    "a larger one": 2**20000,
    "escapes": {HOSTILE: HOSTILE},
}


@service.method
def odd(what: str):
    return RESULTS[what]


@service.method
def odds(what: str):
    yield 1
    yield RESULTS[what]


@service.method
def hostile():
    raise ValueError(HOSTILE + "\\ud800")


@service.method
def started(path: str, seconds: float) -> str:
    "Leave a mark, so that the caller knows the call has begun; then block."
    pathlib.Path(path).touch()
    time.sleep(seconds)
    return "done"
"""


class Outcome:
    """What a finished command left."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    def __repr__(self) -> str:
        return f"exit status {self.status}\n-- stdout\n{self.out}\n-- stderr\n{self.err}"


def environment() -> dict[str, str]:
    """Nothing of pytest's and a terminal wide enough that help texts are not cut."""
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV_"))
    }
    return {**env, "COLUMNS": "200", "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}


def run_module(module: str, *args: str, cwd: Path) -> Outcome:
    done = subprocess.run(
        [sys.executable, "-m", module, *args],
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


class Started:
    """A command that runs until it is told to stop."""

    def __init__(self, module: str, args: Sequence[str], cwd: Path) -> None:
        self._log = open(cwd / "stderr", "w+", encoding="utf-8")  # noqa: SIM115 - closed with the process
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *args],
            cwd=cwd,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )

    def lines(self, count: int) -> list[str]:
        """The first so many lines of standard output; fails when they do not come, or the process
        ends first.
        """
        assert self.process.stdout is not None
        deadline = time.monotonic() + DEADLINE
        text = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while text.count(b"\n") < count:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    pytest.fail(f"only {text!r} within {DEADLINE} s; stderr: {self.err}")
                read = os.read(self.process.stdout.fileno(), 65536)
                if not read:
                    pytest.fail(
                        f"it ended with {self.process.wait(DEADLINE)}; {text!r}; stderr: {self.err}"
                    )
                text += read
        return text.decode().splitlines()

    @property
    def err(self) -> str:
        self._log.flush()
        self._log.seek(0)
        return self._log.read()

    def finish(self, *signals: int) -> Outcome:
        """Send the signals, wait for the end, tell what it left."""
        for number in signals:
            self.process.send_signal(number)
        try:
            out, _ = self.process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running {DEADLINE} s after {signals}; stderr: {self.err}")
        return Outcome(self.process.returncode, out.decode(), self.err)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._log.close()


@contextlib.contextmanager
def starting(module: str, *args: str, cwd: Path) -> Iterator[Started]:
    started = Started(module, args, cwd)
    try:
        yield started
    finally:
        started.kill()


def serving(home: Path, *options: str, cwd: Path) -> contextlib.AbstractContextManager[Started]:
    """`ringback serve` of the service of these tests."""
    return starting("ringback", "serve", f"{home}/calc.py:service", *options, cwd=cwd)


def wait_for(path: Path, started: Started) -> None:
    """Until the handler has left its mark."""
    deadline = time.monotonic() + DEADLINE
    while not path.exists():
        if started.process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"the handler was not called; stderr: {started.err}")
        time.sleep(0.01)


def free_endpoint() -> str:
    """An endpoint where nothing listens, at least for now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


def assert_one_line(outcome: Outcome, *words: str, status: int = 1) -> None:
    """Failed as promised: that status, nothing on standard output, and one line that holds the
    words.
    """
    assert outcome.status == status, outcome
    assert outcome.out == "", outcome
    assert "Traceback" not in outcome.err, outcome
    assert re.fullmatch(r"ringback: [^\n]+\n", outcome.err), outcome
    for word in words:
        assert word in outcome.err, outcome


def assert_usage(outcome: Outcome) -> None:
    assert outcome.status == 2, outcome
    assert "Traceback" not in outcome.err, outcome
    # Where an option lacks its value, or has one that is none, there is no usage but the error
    # alone.
    assert "Usage:" in outcome.out + outcome.err or outcome.err.startswith(
        ("Error: ", "ringback: --")
    ), outcome


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a service and some modules that are none."""
    path = tmp_path_factory.mktemp("home")
    (path / "calc.py").write_text(SERVICE, encoding="utf-8")
    (path / "raises.py").write_text("raise RuntimeError('not today')\n", encoding="utf-8")
    (path / "needs_more.py").write_text("import a_library_nobody_has\n", encoding="utf-8")
    (path / "unparsable.py").write_text("def (\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[str]:
    """The endpoint of a server that lives as long as this module's tests."""
    with starting("ringback", "serve", "calc:service", "--bind", ANY_PORT, cwd=home) as started:
        yield started.lines(1)[0].split()[3]


# The ready line


def is_ready(line: str, loop: str) -> bool:
    return (
        re.fullmatch(rf"ringback: calc on tcp://127\.0\.0\.1:[1-9]\d* \({loop}\)", line) is not None
    )


@pytest.mark.parametrize("loop", BACKENDS)
def test_serve_prints_its_ready_line_and_drains_on_sigint_with_0(
    loop: str, home: Path, tmp_path: Path
) -> None:
    with serving(home, "--backend", loop, "--bind", ANY_PORT, cwd=tmp_path) as started:
        (line,) = started.lines(1)
        assert is_ready(line, loop)
        endpoint = line.split()[3]
        answer = run_module("ringback", "call", endpoint, "add", "1", "2", cwd=tmp_path)
        assert (answer.status, answer.out) == (0, "3\n"), answer
        ended = started.finish(signal.SIGINT)
    assert ended.status == 0, ended
    assert ended.out == "", ended
    assert "Traceback" not in ended.err, ended


@pytest.mark.parametrize("loop", BACKENDS)
def test_serve_finishes_accepted_calls_before_it_ends(
    loop: str, home: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "caller").mkdir()
    with serving(home, "--backend", loop, "--bind", ANY_PORT, cwd=tmp_path) as started:
        endpoint = started.lines(1)[0].split()[3]
        call = ("call", endpoint, "started", str(mark), "0.5")
        with starting("ringback", *call, cwd=tmp_path / "caller") as caller:
            wait_for(mark, caller)
            ended = started.finish(signal.SIGINT)
            answer = caller.finish()
    assert (answer.status, answer.out) == (0, '"done"\n'), answer
    assert ended.status == 0, ended


def test_serve_drains_on_sigterm_with_0(home: Path, tmp_path: Path) -> None:
    with serving(home, "--bind", ANY_PORT, cwd=tmp_path) as started:
        started.lines(1)
        ended = started.finish(signal.SIGTERM)
    assert ended.status == 0, ended


@pytest.mark.parametrize("options", [[], ["--processes", "1"]], ids=["one", "many"])
def test_a_ready_line_needs_no_locale(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    (tmp_path / "kitchen.py").write_text(
        "import ringback\nservice = ringback.Service('k\xfcche')\n", encoding="utf-8"
    )
    with starting(
        "ringback", "serve", "kitchen:service", "--bind", ANY_PORT, *options, cwd=tmp_path
    ) as served:
        assert served.lines(1)[0].startswith("ringback: k\xfcche on tcp://")
        assert served.finish(signal.SIGTERM).status == 0


def test_serve_prints_a_ready_line_for_each_bind(home: Path, tmp_path: Path) -> None:
    binds = ("--bind", ANY_PORT, "--bind", ANY_PORT, "--bind", f"ipc://{tmp_path}/s")
    with serving(home, *binds, cwd=tmp_path) as started:
        lines = started.lines(3)
        assert is_ready(lines[0], "asyncio")
        assert is_ready(lines[1], "asyncio")
        assert lines[0] != lines[1]
        assert lines[2] == f"ringback: calc on ipc://{tmp_path}/s (asyncio)"
        for line in lines:
            answer = run_module("ringback", "call", line.split()[3], "add", "1", "2", cwd=tmp_path)
            assert answer.out == "3\n", answer


def test_serve_prints_the_endpoint_it_was_given(home: Path, tmp_path: Path) -> None:
    endpoint = free_endpoint()
    with serving(home, "--bind", endpoint, cwd=tmp_path) as started:
        assert started.lines(1) == [f"ringback: calc on {endpoint} (asyncio)"]


def test_python_m_ringback_server_is_ringback_serve(home: Path, tmp_path: Path) -> None:
    with starting(
        "ringback.server", f"{home}/calc.py:service", "--bind", ANY_PORT, cwd=tmp_path
    ) as started:
        assert is_ready(started.lines(1)[0], "asyncio")
        ended = started.finish(signal.SIGTERM)
    assert ended.status == 0, ended


@pytest.mark.parametrize(
    ("loop", "options"),
    [
        ("asyncio", ["--uvloop"]),
        ("twisted", ["--reactor", "asyncio"]),
        ("twisted", ["--reactor", "select"]),
    ],
    ids=["uvloop", "asyncio reactor", "select reactor"],
)
def test_serve_runs_on_the_loop_that_an_option_chooses(
    loop: str, options: list[str], home: Path, tmp_path: Path
) -> None:
    args = ("serve", f"{home}/calc.py:service", "--backend", loop, *options, "--bind", ANY_PORT)
    with starting("ringback", *args, cwd=tmp_path) as started:
        (line,) = started.lines(1)
        assert is_ready(line, loop)
        answer = run_module("ringback", "call", line.split()[3], "add", "1", "2", cwd=tmp_path)
        assert answer.out == "3\n", answer
        ended = started.finish(signal.SIGINT)
    assert ended.status == 0, ended


# serve: what cannot be served is one line


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nosuch:thing", ["nosuch", "no module"]),
        ("nosuch.py:thing", ["nosuch.py", "no file"]),
        ("calc", ["'calc'", "MODULE:ATTRIBUTE"]),
        ("calc:", ["'calc:'", "MODULE:ATTRIBUTE"]),
        (":service", ["':service'", "MODULE:ATTRIBUTE"]),
        ("calc:nosuch", ["calc", "'nosuch'"]),
        ("calc.py:nosuch", ["calc.py", "'nosuch'"]),
        ("calc:not_a_service", ["calc:not_a_service", "int", "ringback.Service"]),
        ("raises:service", ["raises", "RuntimeError", "not today"]),
        ("raises.py:service", ["raises.py", "RuntimeError", "not today"]),
        ("needs_more:service", ["needs_more", "a_library_nobody_has"]),
        ("needs_more.py:service", ["needs_more.py", "a_library_nobody_has"]),
        ("unparsable:service", ["unparsable", "SyntaxError"]),
    ],
)
def test_serve_says_in_one_line_what_is_wrong_with_a_target(
    target: str, words: list[str], home: Path
) -> None:
    status = 2 if "MODULE:ATTRIBUTE" in words else 3
    outcome = run_module("ringback", "serve", target, "--bind", ANY_PORT, cwd=home)
    assert_one_line(outcome, *words, status=status)


@pytest.mark.parametrize("where", ["outer", "outer.py"])
@pytest.mark.parametrize(
    ("source", "line", "words"),
    [
        ("def look():\n    return {}['db']\n\n\nlook()\n", 2, ["KeyError: 'db'"]),
        ("x = 1\ndef (\n", 2, ["SyntaxError: "]),
        ("import json\n\njson.loads('{')\n", 3, ["JSONDecodeError: "]),
        ("import sys\n\nsys.exit('not so')\n", 3, ["SystemExit: not so", "__main__"]),
        ("raise BaseException('no')\n", 1, ["BaseException: no"]),
        (
            "import a_library_nobody_has\n",
            1,
            ["No module named", "install the package that has a_library_nobody_has"],
        ),
        ("from json import nothing_like_it\n", 1, ["ImportError: "]),
        (
            (
                "import ringback\n\ns = ringback.Service('s')\ns.method(lambda callback: 1, "
                "name='m')\n"
            ),
            4,
            ["callback"],
        ),
    ],
    ids=[
        "a KeyError",
        "syntax",
        "in a library",
        "exit",
        "BaseException",
        "missing",
        "a name",
        "usage",
    ],
)
def test_serve_says_where_an_import_went_wrong(
    where: str, source: str, line: int, words: list[str], tmp_path: Path
) -> None:
    (tmp_path / "outer.py").write_text("import inner\n", encoding="utf-8")
    (tmp_path / "inner.py").write_text(source, encoding="utf-8")
    outcome = run_module("ringback", "serve", f"{where}:service", "--bind", ANY_PORT, cwd=tmp_path)
    assert_one_line(outcome, f"{tmp_path}/inner.py:{line}", *words, status=3)


@pytest.mark.parametrize(
    ("name", "whose"),
    [
        ("queue", "a module of Python's standard library"),
        ("asyncio", "a module of Python's standard library"),
        ("ringback", "an installed package"),
        ("zmq", "an installed package"),
    ],
)
def test_a_file_that_would_take_the_place_of_a_module_is_refused(
    name: str, whose: str, tmp_path: Path
) -> None:
    (tmp_path / f"{name}.py").write_text(SERVICE, encoding="utf-8")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    outcome = run_module(
        "ringback", "serve", f"../{name}.py:service", "--bind", ANY_PORT, cwd=elsewhere
    )
    assert_one_line(outcome, f"../{name}.py has the name of {whose}", "rename the file", status=3)


@pytest.mark.parametrize(
    "endpoint", ["foo", "tcp://127.0.0.1", "tcp://127.0.0.1:99999", "http://127.0.0.1:80", ""]
)
def test_serve_says_in_one_line_what_is_wrong_with_an_endpoint(endpoint: str, home: Path) -> None:
    outcome = run_module("ringback", "serve", "calc:service", "--bind", endpoint, cwd=home)
    assert_one_line(outcome, repr(endpoint), "tcp://127.0.0.1:5555", status=2)


@pytest.mark.parametrize("port", ["99999", "-1", "abc", "5555x", ""])
@pytest.mark.parametrize(
    "command",
    [["serve", "calc:service", "--bind"], ["call"], ["describe"], ["health"], ["top"]],
    ids=lambda command: command[0],
)
def test_a_bad_port_is_named_in_one_line(command: list[str], port: str, home: Path) -> None:
    words = [*command, f"tcp://127.0.0.1:{port}", *(["add"] if command == ["call"] else [])]
    assert_one_line(run_module("ringback", *words, cwd=home), f"{port!r} is not a port", status=2)


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:*", "tcp://127.0.0.1:0", "tcp://*:5555"])
@pytest.mark.parametrize("command", ["call", "describe", "health"])
def test_what_only_servers_bind_is_refused_at_clients(
    command: str, endpoint: str, home: Path
) -> None:
    words = [command, endpoint, *(["add"] if command == "call" else [])]
    assert_one_line(run_module("ringback", *words, cwd=home), endpoint, "is for servers", status=2)


# The top level domain "invalid" is reserved: it never exists.
NO_HOST = "tcp://nosuchhost.invalid:5555"


@pytest.mark.parametrize("more", [[], ["--processes", "2"]], ids=["one process", "many processes"])
def test_a_host_without_an_address_is_told_by_serve(more: list[str], home: Path) -> None:
    outcome = run_module("ringback", "serve", "calc:service", "--bind", NO_HOST, *more, cwd=home)
    assert_one_line(outcome, NO_HOST, "host 'nosuchhost.invalid' cannot be resolved", status=3)


@pytest.mark.parametrize("command", ["describe", "health"])
def test_a_host_without_an_address_is_told_by_commands(command: str, home: Path) -> None:
    outcome = run_module("ringback", command, NO_HOST, "--timeout", "0.5", cwd=home)
    assert_one_line(outcome, NO_HOST, "host 'nosuchhost.invalid' cannot be resolved")
    assert "no server" not in outcome.err


@pytest.mark.parametrize("style", STYLES)
def test_a_host_without_an_address_is_told_by_every_client_style(style: str, home: Path) -> None:
    args = ("call", NO_HOST, "add", "--timeout", "0.5", "--client", style)
    outcome = run_module("ringback", *args, cwd=home)
    assert_one_line(outcome, "UNAVAILABLE", NO_HOST, "host 'nosuchhost.invalid' cannot be resolved")
    assert "no server" not in outcome.err


@pytest.mark.parametrize("loop", BACKENDS)
def test_serve_says_in_one_line_that_a_port_is_in_use(loop: str, home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        outcome = run_module(
            "ringback", "serve", "calc:service", "--backend", loop, "--bind", endpoint, cwd=home
        )
    assert_one_line(outcome, endpoint, "in use", "--bind", status=3)


def test_serve_says_in_one_line_that_an_ipc_path_is_in_use(home: Path, tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/s"
    with serving(home, "--bind", endpoint, cwd=tmp_path) as started:
        started.lines(1)
        outcome = run_module("ringback", "serve", "calc:service", "--bind", endpoint, cwd=home)
        assert_one_line(outcome, endpoint, "in use", status=3)
        answer = run_module("ringback", "call", endpoint, "add", "1", "2", cwd=home)
        assert answer.out == "3\n", answer


def test_serve_says_in_one_line_that_an_ipc_directory_is_missing(
    home: Path, tmp_path: Path
) -> None:
    endpoint = f"ipc://{tmp_path}/nosuch/s"
    outcome = run_module("ringback", "serve", "calc:service", "--bind", endpoint, cwd=home)
    assert_one_line(outcome, endpoint, "No such file or directory", status=3)


def test_serve_names_the_backends_to_choose_from(home: Path) -> None:
    outcome = run_module("ringback", "serve", "calc:service", "--backend", "trio", cwd=home)
    assert_one_line(outcome, "'trio'", *BACKENDS, status=2)


@pytest.mark.parametrize("loop", ["gevent", "threading", "twisted"])
def test_uvloop_with_another_backend_is_refused_in_one_line(loop: str, home: Path) -> None:
    outcome = run_module(
        "ringback",
        "serve",
        "calc:service",
        "--uvloop",
        "--backend",
        loop,
        "--bind",
        ANY_PORT,
        cwd=home,
    )
    assert_one_line(outcome, "uvloop", "asyncio", loop, status=2)


@pytest.mark.parametrize("loop", ["asyncio", "gevent", "threading"])
def test_a_reactor_with_another_backend_is_refused_in_one_line(loop: str, home: Path) -> None:
    args = ("serve", "calc:service", "--reactor", "select", "--backend", loop, "--bind", ANY_PORT)
    assert_one_line(run_module("ringback", *args, cwd=home), "reactor", "twisted", loop, status=2)


def test_an_unknown_reactor_is_refused_in_one_line(home: Path) -> None:
    args = (
        "serve",
        "calc:service",
        "--reactor",
        "nosuch",
        "--backend",
        "twisted",
        "--bind",
        ANY_PORT,
    )
    assert_one_line(run_module("ringback", *args, cwd=home), "'nosuch'", "epoll", status=3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--log-level", "trace"], ["--log-level", "'trace'", "debug, info"]),
        (["--log-format", "xml"], ["--log-format", "'xml'"]),
        (["--limit", "fast"], ["'fast'", "adaptive"]),
        (["--resource", "db=many"], ["--resource", "'db=many'"]),
        (["--weight", "0"], ["weight", "0"]),
        (["--processes", "1", "--limit", "fast"], ["'fast'", "adaptive"]),
        (["--processes", "1", "--backend", "trio"], ["'trio'"]),
    ],
    ids=" ".join,
)
def test_a_bad_option_of_serve_is_usage(words: list[str], said: list[str], home: Path) -> None:
    outcome = run_module("ringback", "serve", "calc:service", "--bind", ANY_PORT, *words, cwd=home)
    assert outcome.status == 2, outcome
    line = next(line for line in outcome.err.splitlines() if line.startswith("ringback: "))
    assert all(word in line for word in said), outcome


@pytest.mark.parametrize(
    "command", [[], ["serve"], ["call"], ["compare"], ["keys", "new"]], ids=" ".join
)
def test_h_is_help(command: list[str], home: Path) -> None:
    short, long = (run_module("ringback", *command, word, cwd=home) for word in ("-h", "--help"))
    assert (short.status, short.err) == (0, ""), short
    assert short.out == long.out
    assert "..." not in run_module("ringback", "-h", cwd=home).out.partition("Commands:")[2]


def test_version_names_what_a_report_needs(home: Path) -> None:
    outcome = run_module("ringback", "--version", cwd=home)
    assert (outcome.status, outcome.err) == (0, ""), outcome
    first, second = outcome.out.splitlines()
    assert re.fullmatch(r"ringback \S+ \(transport \w+, CPython 3\.\d+\.\S+ on Linux\)", first), (
        outcome
    )
    assert re.search(r"pyzmq \d+.*msgspec \d+", second), outcome


# call: arguments and results


@pytest.mark.parametrize(
    ("args", "printed"),
    [
        (["add", "1", "-1"], "0"),
        (["add", "-1", "-1"], "-2"),
        (["add", "a=1", "b=2"], "3"),
        (["add", "1", "b=-2"], "-1"),
        (["echo", "hello"], '"hello"'),
        (["echo", "hello world"], '"hello world"'),
        (["echo", "12"], "12"),
        (["echo", "-1.5"], "-1.5"),
        (["echo", "-x"], '"-x"'),
        (["echo", '"12"'], '"12"'),
        (["echo", "null"], "null"),
        (["echo", "[1, 2.5, true]"], "[1,2.5,true]"),
        (["echo", '{"a": [1, null]}'], '{"a":[1,null]}'),
        (["echo", "value=7"], "7"),
        (["echo", "other=7"], '"other=7"'),
        (["echo", "--", "--fire"], '"--fire"'),
        (["echo", "\u00e9\u4e2d"], '"\u00e9\u4e2d"'),
        (["ringback.ping"], '"pong"'),
    ],
    ids=" ".join,
)
def test_call_prints_the_result_as_one_line_of_json(
    args: list[str], printed: str, server: str, home: Path
) -> None:
    outcome = run_module("ringback", "call", server, *args, cwd=home)
    assert (outcome.status, outcome.out, outcome.err) == (0, printed + "\n", ""), outcome


@pytest.mark.parametrize("style", STYLES)
def test_a_stream_prints_one_line_an_item(style: str, server: str, home: Path) -> None:
    outcome = run_module("ringback", "call", server, "count", "3", "--client", style, cwd=home)
    assert (outcome.status, outcome.out, outcome.err) == (0, "0\n1\n2\n", ""), outcome


def test_a_stream_that_breaks_prints_its_items_and_then_its_error(server: str, home: Path) -> None:
    outcome = run_module("ringback", "call", server, "broken", "2", cwd=home)
    assert (outcome.status, outcome.out) == (1, "0\n1\n"), outcome
    assert re.fullmatch(r"ringback: [^\n]*no more items[^\n]*\n", outcome.err), outcome


@pytest.mark.parametrize("fire", [[], ["--fire"]], ids=["call", "fire"])
@pytest.mark.parametrize("style", STYLES)
def test_every_client_style_calls_and_fires(
    style: str, fire: list[str], server: str, home: Path
) -> None:
    outcome = run_module(
        "ringback", "call", server, "add", "1", "2", "--client", style, *fire, cwd=home
    )
    assert (outcome.status, outcome.out, outcome.err) == (0, "3\n", ""), outcome


def test_describe_reads_like_help(server: str, home: Path) -> None:
    outcome = run_module("ringback", "describe", server, cwd=home)
    assert (outcome.status, outcome.err) == (0, ""), outcome
    first, *blocks = outcome.out.split("\n\n")
    assert re.fullmatch(r"calc: \d+ methods", first)
    assert "add(a: int, b: int) -> int\n    Sum of two integers." in blocks
    (count,) = [block for block in blocks if block.startswith("count(")]
    assert count.rstrip().endswith("[stream]")


def test_describe_prints_the_methods_as_json(server: str, home: Path) -> None:
    outcome = run_module("ringback", "describe", server, "--json", cwd=home)
    assert (outcome.status, outcome.err) == (0, ""), outcome
    described = json.loads(outcome.out)
    assert described["name"] == "calc"
    methods = {entry["name"]: entry for entry in described["methods"]}
    assert methods["add"]["signature"] == "add(a: int, b: int) -> int"
    assert methods["add"]["doc"] == "Sum of two integers."
    assert methods["count"]["stream"] is True
    assert not [name for name in methods if name.startswith("_")]


@pytest.mark.parametrize(
    ("what", "printed"),
    [
        ("bytes", '"/wA="'),
        ("a set", "[7]"),
        ("keys of many kinds", '{"a":1,"2":3,"null":4,"true":5,"YQ==":6}'),
        ("a huge integer", str(2**200)),
    ],
)
def test_call_prints_what_has_a_form_in_json(
    what: str, printed: str, server: str, home: Path
) -> None:
    outcome = run_module("ringback", "call", server, "odd", what, cwd=home)
    assert (outcome.status, outcome.out, outcome.err) == (0, printed + "\n", ""), outcome


NOT_JSON = ["nan", "infinity", "a tuple as key", "a key that is NaN", "a larger one"]


@pytest.mark.parametrize("what", NOT_JSON)
def test_call_says_that_a_result_is_not_json(what: str, server: str, home: Path) -> None:
    assert_one_line(
        run_module("ringback", "call", server, "odd", what, cwd=home), "cannot be written as JSON"
    )
    stream = run_module("ringback", "call", server, "odds", what, cwd=home)
    assert (stream.status, stream.out) == (1, "1\n"), stream
    assert re.fullmatch("ringback: [^\n]*cannot be written as JSON[^\n]*\n", stream.err), stream


@pytest.mark.parametrize("style", STYLES)
def test_every_client_style_says_that_a_fired_result_is_not_json(
    style: str, server: str, home: Path
) -> None:
    args = ("call", server, "odd", "nan", "--fire", "--client", style)
    assert_one_line(run_module("ringback", *args, cwd=home), "cannot be written as JSON")
    for script in SCRIPTS:
        args = (server, "odd", "nan", "--client", style)
        assert_one_line(
            run_module(f"ringback.clients.{script}", *args, cwd=home), "cannot be written as JSON"
        )


def test_no_control_character_of_a_server_reaches_the_terminal(server: str, home: Path) -> None:
    controls = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]")
    result = run_module("ringback", "call", server, "odd", "escapes", cwd=home)
    assert result.status == 0, result
    assert not controls.search(result.out), result
    hostile = "\x1b[31mred\x07\x7f\x9b31m\u2028\u202e"
    assert json.loads(result.out) == {hostile: hostile}
    error = run_module("ringback", "call", server, "hostile", cwd=home)
    assert_one_line(error, r"\x1b[31mred\x07\x7f\x9b31m")
    assert not controls.search(error.err), error
    for form in ([], ["--json"]):
        described = run_module("ringback", "describe", server, *form, cwd=home)
        assert described.status == 0, described
        assert not controls.search(described.out), described


# What cannot be printed is one line


def run_into(out: str, module: str, *args: str, cwd: Path) -> Outcome:
    """With that file as standard output, or with none at all."""
    words = [sys.executable, "-m", module, *args]
    redirected = subprocess.run(
        ["sh", "-c", f'exec "$@" {out}', "sh", *words],
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=DEADLINE,
    )
    return Outcome(redirected.returncode, "", redirected.stderr)


@pytest.mark.skipif(
    not os.path.exists("/dev/full"), reason="only Linux has a disk that is always full"
)
@pytest.mark.parametrize(
    "args",
    [
        ["call", "SERVER", "add", "1", "2"],
        ["call", "SERVER", "add", "1", "2", "--fire"],
        ["call", "SERVER", "count", "3"],
        ["describe", "SERVER"],
        ["health", "SERVER"],
        ["health", "SERVER", "--timeout=5"],
        ["top", "SERVER"],
        ["--help"],
        ["call", "--help"],
    ],
    ids=" ".join,
)
def test_a_full_disk_is_one_line_and_status_1(args: list[str], server: str, home: Path) -> None:
    words = [server if word == "SERVER" else word for word in args]
    assert_one_line(
        run_into(">/dev/full", "ringback", *words, cwd=home),
        "standard output cannot be written",
        "No space left",
    )


@pytest.mark.skipif(
    not os.path.exists("/dev/full"), reason="only Linux has a disk that is always full"
)
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_full_disk_is_one_line_of_a_client_script(script: str, server: str, home: Path) -> None:
    outcome = run_into(">/dev/full", f"ringback.clients.{script}", server, cwd=home)
    assert_one_line(outcome, "standard output cannot be written")


@pytest.mark.skipif(
    not os.path.exists("/dev/full"), reason="only Linux has a disk that is always full"
)
@pytest.mark.parametrize(
    "options", [["--backend", loop] for loop in BACKENDS] + [["--processes", "1"]]
)
def test_a_ready_line_that_cannot_be_written_ends_the_server(
    options: list[str], home: Path
) -> None:
    args = ("serve", "calc:service", "--bind", ANY_PORT, "--log-level", "error", *options)
    outcome = run_into(">/dev/full", "ringback", *args, cwd=home)
    assert_one_line(outcome, "standard output cannot be written")


@pytest.mark.parametrize(
    "args", [["call", "SERVER", "add", "1", "2"], ["describe", "SERVER"], ["health", "SERVER"]]
)
def test_a_closed_standard_output_is_one_line_and_status_1(
    args: list[str], server: str, home: Path
) -> None:
    words = [server if word == "SERVER" else word for word in args]
    outcome = run_into(">&-", "ringback", *words, cwd=home)
    assert_one_line(outcome, "standard output cannot be written", "closed")


def test_a_reader_that_has_gone_is_no_error_worth_a_word(server: str, home: Path) -> None:
    for words in (["call", server, "add", "1", "2"], ["describe", server], ["health", server]):
        reading, writing = os.pipe()
        os.close(reading)
        ended = subprocess.run(
            [sys.executable, "-m", "ringback", *words],
            cwd=home,
            env=environment(),
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=DEADLINE,
        )
        os.close(writing)
        assert (ended.returncode, ended.stderr) == (1, b""), words


# call: what goes wrong is one line


@pytest.mark.parametrize("fire", [[], ["--fire"]], ids=["call", "fire"])
@pytest.mark.parametrize("style", STYLES)
def test_every_client_style_reports_an_error_in_one_line(
    style: str, fire: list[str], server: str, home: Path
) -> None:
    outcome = run_module(
        "ringback", "call", server, "fail", "oh", "--client", style, *fire, cwd=home
    )
    assert_one_line(outcome, "KeyError", "oh")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nosuch"], ["UNIMPLEMENTED", "'nosuch'"]),
        (["nosuch", "--fire"], ["UNIMPLEMENTED", "'nosuch'"]),
        (["ringback.nosuch"], ["UNIMPLEMENTED", "'ringback.nosuch'"]),
        (["add", "1"], ["INVALID_ARGUMENT", "add", "'b'"]),
        (["add", "1", "2", "3"], ["INVALID_ARGUMENT", "add"]),
        (["add", "1", "x"], ["INVALID_ARGUMENT", "add", "'b'", "int", "str"]),
        (["add", "1", "a=2"], ["INVALID_ARGUMENT", "add", "'a'"]),
        (["add", "a=1", "2"], ["'2'", "must come before the named ones"]),
        (["add", "a=1", "c=2"], ["there is no parameter 'c', only a, b"]),
        (["count", "x"], ["INVALID_ARGUMENT", "count", "'n'"]),
        (["unserialisable"], ["unserialisable", "object"]),
        (["big", str(17 * 1024 * 1024)], ["RESOURCE_EXHAUSTED", "big"]),
        (["started", "/dev/null", "5", "--timeout", "0.3"], ["DEADLINE_EXCEEDED", "started"]),
    ],
    ids=" ".join,
)
def test_call_says_in_one_line_what_went_wrong(
    args: list[str], words: list[str], server: str, home: Path
) -> None:
    assert_one_line(run_module("ringback", "call", server, *args, cwd=home), *words)


def test_a_server_answers_after_a_result_it_could_not_send(server: str, home: Path) -> None:
    assert_one_line(run_module("ringback", "call", server, "unserialisable", cwd=home))
    assert_one_line(run_module("ringback", "call", server, "big", str(17 * 1024 * 1024), cwd=home))
    assert run_module("ringback", "call", server, "add", "1", "2", cwd=home).out == "3\n"


@pytest.mark.parametrize("style", STYLES)
def test_call_says_that_it_waits_for_a_server(style: str, home: Path) -> None:
    endpoint = free_endpoint()
    args = ("call", endpoint, "add", "1", "2", "--timeout", "1.5", "--client", style)
    outcome = run_module("ringback", *args, cwd=home)
    assert (outcome.status, outcome.out) == (1, ""), outcome
    waits, failed = outcome.err.splitlines()
    assert (
        waits
        == f"ringback: waiting for a server at {endpoint}, for at most 1.5 s (--no-wait fails at once)"
    )
    assert "UNAVAILABLE" in failed


@pytest.mark.parametrize(
    "command", [["call", "SERVER", "add"], ["describe", "SERVER"]], ids=" ".join
)
def test_no_wait_fails_at_once_where_no_server_is(command: list[str], home: Path) -> None:
    words = [free_endpoint() if word == "SERVER" else word for word in command]
    start = time.monotonic()
    assert_one_line(run_module("ringback", *words, "--no-wait", cwd=home), "UNAVAILABLE", "refused")
    assert time.monotonic() - start < 10.0


@pytest.mark.parametrize("fire", [[], ["--fire"]], ids=["call", "fire"])
def test_what_travels_beside_a_call_is_given_by_options(
    fire: list[str], server: str, home: Path
) -> None:
    beside = [
        "--metadata",
        'user="ann"',
        "--metadata",
        "n=[1]",
        "--priority",
        "3",
        "--transport",
        "libzmq",
    ]
    outcome = run_module("ringback", "call", server, "told", *beside, *fire, cwd=home)
    assert (outcome.status, outcome.out) == (0, '[{"user":"ann","n":[1]},3]\n'), outcome


def test_metadata_without_a_value_is_refused(server: str, home: Path) -> None:
    outcome = run_module("ringback", "call", server, "told", "--metadata", "user", cwd=home)
    assert_one_line(outcome, "--metadata must be NAME=JSON", "'user'", status=2)


@pytest.mark.parametrize(
    "words", [["42", "5"], ["account=42", "amount=5"], ['"42"', "5"]], ids=" ".join
)
def test_a_text_needs_no_quotes_where_the_method_takes_one(
    words: list[str], server: str, home: Path
) -> None:
    outcome = run_module("ringback", "call", server, "deposit", *words, cwd=home)
    assert (outcome.status, outcome.out) == (0, '["42",5]\n'), outcome


@pytest.mark.parametrize("style", STYLES)
def test_call_gives_up_in_time_where_no_server_is(style: str, home: Path) -> None:
    endpoint = free_endpoint()
    start = time.monotonic()
    outcome = run_module(
        "ringback", "call", endpoint, "add", "--timeout", "0.5", "--client", style, cwd=home
    )
    seconds = time.monotonic() - start
    assert_one_line(outcome, "UNAVAILABLE", endpoint)
    assert 0.5 <= seconds < 10


def test_describe_gives_up_in_time_where_no_server_is(home: Path) -> None:
    endpoint = free_endpoint()
    assert_one_line(
        run_module("ringback", "describe", endpoint, "--timeout", "0.5", cwd=home),
        "UNAVAILABLE",
        endpoint,
    )


@pytest.mark.parametrize("command", [["call", "foo", "add"], ["describe", "foo"]], ids=" ".join)
def test_a_bad_endpoint_is_one_line_that_shows_a_good_one(command: list[str], home: Path) -> None:
    assert_one_line(
        run_module("ringback", *command, cwd=home), "'foo'", "tcp://127.0.0.1:5555", status=2
    )


def test_call_names_the_client_styles_to_choose_from(server: str, home: Path) -> None:
    outcome = run_module("ringback", "call", server, "add", "1", "2", "--client", "trio", cwd=home)
    assert_one_line(outcome, "'trio'", *STYLES, status=2)


@pytest.mark.parametrize("style", STYLES)
def test_ctrl_c_ends_a_call_at_once_with_130_and_no_traceback(
    style: str, server: str, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    args = ("call", server, "started", str(mark), "15", "--client", style)
    with starting("ringback", *args, cwd=tmp_path) as started:
        wait_for(mark, started)
        start = time.monotonic()
        ended = started.finish(signal.SIGINT)
        seconds = time.monotonic() - start
    assert ended.status == 130, ended
    assert ended.out == "", ended
    assert "Traceback" not in ended.err, ended
    assert "Unhandled" not in ended.err, ended
    assert seconds < 10  # that is, before the call's own end


def test_a_reader_that_goes_away_ends_a_stream_without_a_traceback(
    server: str, home: Path, tmp_path: Path
) -> None:
    with starting("ringback", "call", server, "count", "1000000", cwd=tmp_path) as started:
        assert started.lines(1)[0] == "0"
        assert started.process.stdout is not None
        started.process.stdout.close()
        assert started.process.wait(DEADLINE) == 1
        assert "Traceback" not in started.err


# Usage and help


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_options_and_their_values(shell: str, home: Path) -> None:
    def completed(*words: str) -> str:
        line = " ".join(words)
        asked = {
            "_RINGBACK_COMPLETE": f"complete_{shell}",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
            "_TYPER_COMPLETE_ARGS": line,
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        }
        command = Path(sys.executable).with_name("ringback")
        return subprocess.run(
            [command], env={**os.environ, **asked}, capture_output=True, text=True, cwd=home
        ).stdout

    assert "--max-connections" in completed("ringback", "serve", "--max-c")
    assert "--max-size" not in completed("ringback", "serve", "--max-c")
    backends = completed("ringback", "serve", "calc:service", "--backend", "")
    assert all(name in backends for name in BACKENDS)
    assert "fire-and-callback" in completed("ringback", "compare", "--style", "f")


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--nosuch"],
        ["nosuch"],
        ["serve"],
        ["serve", "calc:service", "--nosuch"],
        ["serve", "calc:service", "--workers", "none"],
        ["serve", "calc:service", "--workers", "0"],
        ["serve", "calc:service", "extra"],
        ["call"],
        ["call", "tcp://127.0.0.1:1"],
        ["call", "tcp://127.0.0.1:1", "add", "--timeout", "soon"],
        ["call", "tcp://127.0.0.1:1", "add", "--timeout"],
        ["call", "tcp://127.0.0.1:1", "add", "1", "2", "--timout", "3"],
        ["call", "tcp://127.0.0.1:1", "add", "1", "2", "--timout=3"],
        ["describe"],
        ["describe", "tcp://127.0.0.1:1", "--nosuch"],
    ],
    ids=lambda args: " ".join(args) or "nothing",
)
def test_wrong_usage_is_told_and_ends_with_2(args: list[str], home: Path) -> None:
    assert_usage(run_module("ringback", *args, cwd=home))


@pytest.mark.parametrize(
    "module", ["ringback call", *(f"ringback.clients.{script}" for script in SCRIPTS)]
)
def test_a_mistyped_option_is_no_argument(module: str, home: Path) -> None:
    name, *command = module.split()
    args = (*command, "tcp://127.0.0.1:1", "add", "1", "2", "--timout", "3")
    outcome = run_module(name, *args, cwd=home)
    assert_usage(outcome)
    assert "no option --timout, did you mean --timeout?" in outcome.err, outcome
    outcome = run_module(name, *args[:-2], "--nothing-like-it", cwd=home)
    assert "no option --nothing-like-it; put arguments after --" in outcome.err, outcome


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([], ["serve", "call", "describe", "compare"]),
        (
            ["serve"],
            ["--backend", "--bind", "--workers", "--uvloop", "--reactor", "--drain-timeout"],
        ),
        (["call"], ["ENDPOINT", "METHOD", "--timeout", "--client", "--fire"]),
        (["describe"], ["ENDPOINT"]),
        (
            ["compare"],
            [
                "--backend",
                "--client",
                "--style",
                "--workload",
                "--concurrency",
                "--quick",
                "--json",
            ],
        ),
    ],
    ids=["ringback", "serve", "call", "describe", "compare"],
)
def test_help_tells_every_option_and_ends_with_0(
    command: list[str], words: list[str], home: Path
) -> None:
    outcome = run_module("ringback", *command, "--help", cwd=home)
    assert (outcome.status, outcome.err) == (0, ""), outcome
    assert "Usage:" in outcome.out
    missing = [word for word in words if word not in outcome.out]
    assert not missing, outcome


# The client scripts


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("style", STYLES)
class TestClientScripts:
    """Each of the two scripts, in each of the four styles."""

    def test_it_pings_once_by_default(
        self, script: str, style: str, server: str, home: Path
    ) -> None:
        outcome = run_module(f"ringback.clients.{script}", server, "--client", style, cwd=home)
        assert (outcome.status, outcome.out) == (0, '"pong"\n'), outcome
        assert re.fullmatch(r"1 calls? of ringback\.ping in [^\n]+ calls/s\n", outcome.err), outcome

    def test_it_calls_a_method_as_often_as_asked(
        self, script: str, style: str, server: str, home: Path
    ) -> None:
        args = (server, "add", "1", "-3", "--count", "5", "--client", style)
        outcome = run_module(f"ringback.clients.{script}", *args, cwd=home)
        assert (outcome.status, outcome.out) == (0, "-2\n" * 5), outcome
        assert outcome.err.startswith("5 calls of add in "), outcome

    def test_it_counts_more_results_than_it_prints(
        self, script: str, style: str, server: str, home: Path
    ) -> None:
        args = (server, "--count", "2500", "--client", style)
        outcome = run_module(f"ringback.clients.{script}", *args, cwd=home)
        assert (outcome.status, outcome.out) == (0, ""), outcome
        assert outcome.err.startswith("2500 calls of ringback.ping in "), outcome

    def test_it_reports_an_error_in_one_line(
        self, script: str, style: str, server: str, home: Path
    ) -> None:
        args = (server, "nosuch", "--count", "3", "--client", style)
        assert_one_line(
            run_module(f"ringback.clients.{script}", *args, cwd=home), "UNIMPLEMENTED", "'nosuch'"
        )

    def test_it_gives_up_in_time_where_no_server_is(
        self, script: str, style: str, home: Path
    ) -> None:
        args = (free_endpoint(), "--timeout", "0.5", "--client", style)
        assert_one_line(run_module(f"ringback.clients.{script}", *args, cwd=home), "UNAVAILABLE")


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(
    "args", [[], ["tcp://127.0.0.1:1", "--count", "0"]], ids=["no endpoint", "no calls"]
)
def test_wrong_usage_of_a_client_script_ends_with_2(
    script: str, args: list[str], home: Path
) -> None:
    assert_usage(run_module(f"ringback.clients.{script}", *args, cwd=home))


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_of_a_client_script_ends_with_0(script: str, home: Path) -> None:
    outcome = run_module(f"ringback.clients.{script}", "--help", cwd=home)
    assert (outcome.status, outcome.err) == (0, ""), outcome
    for word in ("ENDPOINT", "METHOD", "--count", "--client"):
        assert word in outcome.out, outcome


@pytest.mark.parametrize("loop", BACKENDS)
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_client_script_drives_any_backend(
    script: str, loop: str, home: Path, tmp_path: Path
) -> None:
    args = ("serve", f"{home}/calc.py:service", "--backend", loop, "--bind", ANY_PORT)
    with starting("ringback", *args, cwd=tmp_path) as started:
        endpoint = started.lines(1)[0].split()[3]
        outcome = run_module(
            f"ringback.clients.{script}", endpoint, "add", "1", "2", "--count", "3", cwd=home
        )
    assert (outcome.status, outcome.out) == (0, "3\n" * 3), outcome


def test_access_check_tells_who_may_call_what_and_by_which_rule(tmp_path):
    (tmp_path / "access.toml").write_text('[[rule]]\nwho = ["alice"]\nmethods = ["add"]\n')
    for user, method, status, said in (
        ("alice", "add", 0, "alice may call add: rule 1 (who alice; methods add)\n"),
        ("alice", "pay", 1, "alice may not call pay: no rule allows it\n"),
        ("anonymous", "add", 1, "anonymous may not call add: no rule allows it\n"),
        ("anonymous", "ringback.ping", 0, "anonymous may call ringback.ping: everyone may\n"),
    ):
        done = run_module("ringback", "access", "check", "access.toml", user, method, cwd=tmp_path)
        assert (done.status, done.out, done.err) == (status, said, "")
    (tmp_path / "access.toml").write_text("[[rule]]\n")
    done = run_module("ringback", "access", "check", "access.toml", "alice", "add", cwd=tmp_path)
    assert (done.status, done.out) == (1, "")
    assert (
        done.err
        == "ringback: access rules access.toml: rule 1: who must be a list of names, or patterns with * and ?, not missing\n"
    )
