"""Every code sample in the README and the docs is run: Python blocks as programs of their own, `ringback call` lines against a server."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ENDPOINT = "tcp://127.0.0.1:5555"


def blocks(language: str) -> list[pytest.ParameterSet]:
    """Every fenced block of the language, named by its page and number."""
    found = []
    for page in PAGES:
        texts = re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
        found += [pytest.param(text, id=f"{page.stem}-{number}") for number, text in enumerate(texts, 1)]
    return found


@pytest.fixture(scope="module")
def endpoint():
    """The server that the samples call: the service of the examples."""
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "ringback",
            "serve",
            str(ROOT / "examples" / "calc.py") + ":service",
            "--bind",
            "tcp://127.0.0.1:*",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    yield server.stdout.readline().split()[-2]
    server.terminate()
    assert server.wait(10) == 0


@pytest.mark.parametrize("text", blocks("python"))
def test_a_python_sample_runs(text, endpoint, tmp_path):
    script = tmp_path / "sample.py"
    script.write_text(text.replace(ENDPOINT, endpoint))
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr


def commands() -> list[pytest.ParameterSet]:
    """The `ringback call` and `describe` lines of the console blocks, with the output that the page shows."""
    found = []
    for block in blocks("console"):
        for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block.values[0], re.MULTILINE):
            if command.startswith(("ringback call", "ringback describe")) and output:
                found.append(pytest.param(command, output, id=f"{block.id}-{command}"))
    return found


@pytest.mark.parametrize(("command", "output"), commands())
def test_a_command_prints_what_the_page_shows(command, output, endpoint):
    words = shlex.split(command.replace(ENDPOINT, endpoint))[1:]
    done = subprocess.run(
        [sys.executable, "-m", "ringback", *words], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout + done.stderr).strip() == output.strip()


@pytest.mark.parametrize("style", ["threading", "gevent", "asyncio", "twisted"])
def test_the_two_tasks_take_three_seconds_one_after_the_other_and_two_at_once(style, endpoint):
    program = ROOT / "examples" / f"two_tasks_{style}.py"
    done = subprocess.run(
        [sys.executable, str(program), endpoint], capture_output=True, text=True, timeout=30, check=True
    )
    seconds = dict(re.findall(r"^(synchronous|asynchronous): (\S+) s$", done.stdout, re.MULTILINE))
    assert float(seconds["synchronous"]) >= 2.9
    assert 1.9 <= float(seconds["asynchronous"]) < float(seconds["synchronous"])


def test_every_link_of_the_pages_leads_to_a_file():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_commands_of_the_readme_are_targets_of_the_makefile():
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    for target in re.findall(r"^\$ make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE):
        subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True, env={**os.environ})
