"""Runs a page of the documentation as one program: all blocks in order, in an empty folder.

- A block whose first line is `# NAME.py` or `# NAME.toml` is written to that file. Every Python
  block is run. A comment `# prints LINE` in it names a line that it prints.
- `$ ringback serve` starts a server. It runs until the page ends or serves at the same endpoint
  again. Any other command runs to its end. It must print the output that the page shows, if any.
- Each port of 127.0.0.1 or 0.0.0.0 is replaced by a free one, and each Valkey server by one of the
  test's own.
- Standard error must be empty, except for lines that the page shows or `Rules` allows.
"""

from __future__ import annotations

import configparser
import json
import os
import random
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from processes import SOON
from ringback.cli import app
from typer.main import get_command

# Maximum seconds for a command.
LONG = 30.0

_PRINTS = re.compile(r"# (?:.*: )?prints (.+)$", re.MULTILINE)
_PORT = re.compile(r"((?:tcp://|http://|--metrics |metrics=\")(?:127\.0\.0\.1|0\.0\.0\.0):)(\d+)")
_VALKEY = re.compile(r"(?<=valkey://)[\w.]+:6379")
_NUMBER = re.compile(r"\d[\d,.:]*|(?<= )-(?= |$)")


class Rules(NamedTuple):
    """How commands are tested.

    Each entry is the beginning of a command. A command with no entry in `run` or `not_run` is an
    error.
    """

    run: Sequence[str]
    not_run: Mapping[str, str]  # with the reason; those of ringback must still parse
    fails: Sequence[str]  # commands that end with exit status 1
    varies: Sequence[str]  # the page has each printed line, except for numbers
    logged: re.Pattern[str]  # lines that a server may log


class Block(NamedTuple):
    """A fenced block: its first line's number, language and text."""

    line: int
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The name of the file that it is written to, if any."""
        name = re.match(r"# (\w+\.(?:py|toml))\n", self.text)
        return name and name[1]

    def commands(self) -> Iterator[tuple[str, str]]:
        """Each command with the output that the page shows."""
        yield from re.findall(r"^[$#] (.*)\n((?:(?![$#] ).*\n)*)", self.text, re.MULTILINE)


def blocks(page: Path) -> list[Block]:
    """All blocks of a page, in order."""
    text = page.read_text()
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [Block(text.count("\n", 0, each.start()) + 1, each[1], each[2]) for each in found]


class Server:
    """A server that `ringback serve` of the page has started."""

    def __init__(self, command: str, shown: str, log: Path, **options: object) -> None:
        self.command = command
        self._log = log
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                f"exec {command}",
                shell=True,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                **options,
            )
        assert self.process.stdout is not None
        try:
            ready = [self.process.stdout.readline() for _ in range(max(1, command.count("--bind")))]
            assert all(ready), f"{command} did not start: {log.read_text()}"
            assert shown in ("", "".join(ready)), f"{command} printed {ready}, not {shown!r}"
        except BaseException:
            self.kill()
            raise

    def stop(self, logged: re.Pattern[str]) -> None:
        """Send SIGINT, and check the exit status and the log."""
        self.process.send_signal(signal.SIGINT)
        try:
            status = self.process.wait(SOON)
        finally:
            self.kill()
        log = [line for line in self._log.read_text().splitlines() if not logged.search(line)]
        assert (status, log) == (0, []), f"{self.command} ended with {status} and logged {log}"

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


class Reading:
    """Runs one page, block by block.

    As a context manager, it stops the servers that still run.
    """

    def __init__(self, page: Path, home: Path, rules: Rules, valkey: Callable[[], int]) -> None:
        self._page = page
        self._home = home
        self._rules = rules
        self._valkey = valkey
        self._ports: dict[str, str] = {}
        self._servers: dict[str, Server] = {}  # by port
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        # POD_IP is the address of a pod. No bytecode: Python would confuse two files of the same
        # name, size and second.
        environment = {
            "PATH": path,
            "PYTHONDONTWRITEBYTECODE": "1",
            "COLUMNS": "200",
            "POD_IP": "10.0.0.7",
        }
        self._options = {"cwd": home, "env": {**os.environ, **environment}}

    def take(self, block: Block) -> None:
        """Write the file, run the program or the commands."""
        try:
            self._take(block)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            raise AssertionError(f"{self._page.name}, line {block.line}: {error}") from error

    def _take(self, block: Block) -> None:
        if block.file is not None:
            (self._home / block.file).write_text(self._own(block.text))
        match block.language:
            case "python":
                self.run_python(block.file or f"line_{block.line}.py", self._own(block.text))
            case "console":
                for command, shown in block.commands():
                    self._run_command(command, shown)
            case "toml":
                assert block.file is not None, "a file without a name"
            case "ini":
                configparser.ConfigParser().read_string(block.text)
            case "json":
                json.loads(block.text)
            case "yaml":
                yaml.safe_load(block.text)
            case other:
                assert not other, (
                    f"there is no rule for {other}"
                )  # a block without a language is a picture

    def run_python(self, name: str, text: str) -> None:
        (self._home / name).write_text(text)
        done = self._run([sys.executable, name])
        assert done.returncode == 0, f"{name} ended with {done.returncode}: {done.stderr}"
        assert done.stderr == "", f"{name} wrote {done.stderr}"
        for line in _PRINTS.findall(text):
            assert line in done.stdout.splitlines(), (
                f"{name} did not print {line!r}, but {done.stdout!r}"
            )

    def _run_command(self, command: str, shown: str) -> None:
        known = begins(command, [*self._rules.run, *self._rules.not_run])
        assert known, f"{command} is in neither `run` nor `not_run`"
        if begins(command, self._rules.not_run):
            if command.startswith("ringback "):
                _parse(command)
        elif "[--" in command:
            _check_synopsis(command + shown)
        elif command.split()[:2] == ["ringback", "serve"]:
            self._serve(self._own(command), self._own(shown))
        else:
            done = self._run(self._own(command), shell=True)
            status = 1 if begins(command, self._rules.fails) else 0
            assert done.returncode == status, (
                f"{command} ended with {done.returncode}: {done.stderr}"
            )
            if begins(command, self._rules.varies):
                printed, expected = _lines(done.stdout), _lines(shown)
                assert printed <= expected, (
                    f"{command} printed {printed - expected}, not in {expected}"
                )
            else:
                printed = done.stdout + done.stderr if shown else done.stderr
                expected = self._own(shown)
                assert printed.strip() == expected.strip(), (
                    f"{command} printed {printed!r}, not {expected!r}"
                )

    def _serve(self, command: str, shown: str) -> None:
        if "--bind" not in command:
            command += f" --bind tcp://127.0.0.1:{self._port('5555')}"
        here = re.search(r"--bind \S*:(\d+)", command)
        port = here[1] if here else command  # a port of `*` is always free
        if port in self._servers:
            self._servers.pop(port).stop(self._rules.logged)
        log = self._home / f"server_{random.randrange(10**9)}.log"
        self._servers[port] = Server(command, shown, log, **self._options)

    def _run(
        self, command: str | list[str], shell: bool = False
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            shell=shell,
            capture_output=True,
            text=True,
            timeout=LONG,
            check=False,
            **self._options,
        )

    def _own(self, text: str) -> str:
        """Replace the ports and Valkey servers in a text by those of this test."""
        text = _VALKEY.sub(lambda _: f"127.0.0.1:{self._valkey()}", text)
        return _PORT.sub(lambda port: port[1] + self._port(port[2]), text)

    def _port(self, shown: str) -> str:
        """The free port that replaces a page's. Outgoing connections use those from 32,768 on."""
        while shown not in self._ports:
            port = str(random.randrange(20_000, 32_000))
            with socket.socket() as trial:
                if trial.connect_ex(("127.0.0.1", int(port))) and port not in self._ports.values():
                    self._ports[shown] = port
        return self._ports[shown]

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            while kind is None and self._servers:
                self._servers.popitem()[1].stop(self._rules.logged)
        finally:
            for server in self._servers.values():
                server.kill()


def begins(command: str, beginnings: Iterable[str]) -> bool:
    """Whether the command begins with one of them."""
    return any(command.startswith(beginning) for beginning in beginnings)


def _lines(printed: str) -> set[str]:
    """The lines, without their numbers and the width of columns."""
    return {" ".join(_NUMBER.sub("N", line).split()) for line in printed.splitlines()}


def _parse(command: str) -> None:
    """Check that the command line knows the options."""
    words = shlex.split(command, comments=True)[1:]
    with get_command(app).commands[words[0]].make_context(words[0], words[1:]):
        pass


def _check_synopsis(command: str) -> None:
    """Check that a synopsis names all options of its command, and no others."""
    options = {
        option
        for each in get_command(app).commands[command.split()[1]].params
        for option in each.opts
        if option.startswith("--") and not getattr(each, "hidden", False)
    } - {"--config"}  # every command has it
    assert set(re.findall(r"--[\w-]+", command)) == options, "the options of the synopsis"
