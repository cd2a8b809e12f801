"""README and each page of docs/ run as one program, by the rules of `pages.py`; `mypy --strict`
accepts all programs.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import ringback
from pages import Block, Reading, Rules, blocks

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "decisions"),
]

# A command that is run ends with 0 and prints exactly what its page shows, unless it is in one of
# the other lists.
RULES = Rules(
    run=[
        "ringback ",
        "python -m pytest ",
        "mkdir authorized && cp keys/",
        "for name in server ",
        "pkill ",
    ],
    not_run={
        "make ": "makes an environment from a registry, and takes minutes",
        "pip install ": "installs from a checkout; tests/test_package.py does",
        "ringback compare": "takes a minute and more; tests/compare runs it",
        "ringback report": "needs the files of two comparisons; tests/compare runs it",
        "ringback tune": "takes three minutes; tests/tune runs it",
        "mkdir -p /opt/calc": "changes the machine",
        "python3 -m venv /opt/calc": "changes the machine",
        "cp deploy/systemd": "changes the machine",
        "systemctl": "changes the machine; tests/test_deploy.py reads the unit",
        "docker": "needs Docker; tests/test_deploy.py runs the commands of the files",
        "kubectl": "needs a cluster; tests/test_deploy.py reads the files",
    },
    fails=[
        "ringback call tcp://127.0.0.1:5555 add 1 two",
        "ringback call tcp://127.0.0.1:5555 accounts.close ada --server-key keys/server.key --secret-key keys/bob",
        "ringback access check access.toml bob",
    ],
    varies=["ringback servers", "ringback top"],
    logged=re.compile(
        "to everyone who can reach it, unencrypted|refused bob at 127.0.0.1: may not call "
        "'accounts.close'"
        r"|metrics at http://127.0.0.1:\d+/metrics|INFO ringback.supervisor: "
    ),
)
# Files to which a page links, and which its reader has.
GIVEN = {name: ["examples/calc.py"] for name in ("deployment", "options", "servers")}
# Commands that write a module which the page's programs import.
STUBS = re.compile(r"^\$ (ringback stubs \S+\.py:.*)$", re.MULTILINE)


def programs(page: Path) -> list[Block]:
    """The Python blocks of a page."""
    return [block for block in blocks(page) if block.language == "python"]


# Calls a page's service as its scenario says, in place of a comparison, which takes minutes.
SCENARIO = """
import ringback
from app import service
from scenario import scenario

with ringback.Server(service, "tcp://127.0.0.1:*", backend="threading") as server:
    with ringback.connect(server.endpoint) as client:
        for number in range(20):
            script, reply = scenario(number), None
            try:
                while True:
                    asked = script.send(reply)
                    reply = client.call(asked.method, *asked.args, **asked.kwargs)
            except StopIteration:
                pass
"""


@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_one_program(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    for file in GIVEN.get(page.stem, []):
        assert f"/{file})" in page.read_text()
        shutil.copy(ROOT / file, tmp_path)
    with Reading(page, tmp_path, RULES, lambda: request.getfixturevalue("valkey").port) as reading:
        for block in blocks(page):
            reading.take(block)
        if (tmp_path / "scenario.py").exists():
            reading.run_python("try_scenario.py", SCENARIO)


def test_every_rule_is_about_a_command_of_some_page() -> None:
    commands = [
        command for page in PAGES for block in blocks(page) for command, _ in block.commands()
    ]
    for beginning in [*RULES.run, *RULES.not_run, *RULES.fails, *RULES.varies]:
        assert any(command.startswith(beginning) for command in commands), (
            f"no page has {beginning}"
        )


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed package, which mypy does not see where it is editable, and with
    what mypy remembers of it.
    """
    folder = tmp_path_factory.mktemp("checked")
    (folder / "ringback").symlink_to(Path(ringback.__file__).parent)
    return folder


@pytest.mark.parametrize(
    "page", [page for page in PAGES if programs(page)], ids=lambda page: page.stem
)
def test_the_programs_of_a_page_pass_mypy_strict(page: Path, tmp_path: Path, checked: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed; tox -e docs has it")
    for file in GIVEN.get(page.stem, []):
        shutil.copy(ROOT / file, tmp_path)
    for program in programs(page):
        (tmp_path / (program.file or f"line_{program.line}.py")).write_text(program.text)
    for command in STUBS.findall(page.read_text()):
        subprocess.run([sys.executable, "-m", *command.split()], cwd=tmp_path, check=True)
    found = sorted(path.name for path in tmp_path.glob("*.py"))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--follow-imports=silent",
            "--cache-dir",
            checked / "cache",
            *found,
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(checked)},
    )
    files = f"{len(found)} source file{'' if len(found) == 1 else 's'}"
    assert done.stdout == f"Success: no issues found in {files}\n"


@pytest.fixture(scope="module")
def endpoint():
    """A server of the examples' service."""
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


@pytest.mark.parametrize("style", ["threading", "gevent", "asyncio", "twisted"])
def test_the_two_tasks_take_three_seconds_one_after_the_other_and_two_at_once(style, endpoint):
    program = ROOT / "examples" / f"two_tasks_{style}.py"
    done = subprocess.run(
        [sys.executable, str(program), endpoint],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    seconds = dict(re.findall(r"^(synchronous|asynchronous): (\S+) s$", done.stdout, re.MULTILINE))
    assert float(seconds["synchronous"]) >= 2.9
    assert 1.9 <= float(seconds["asynchronous"]) < float(seconds["synchronous"])


def test_the_example_scores_every_row(tmp_path):
    example = ROOT / "examples" / "scores.py"
    command = [
        sys.executable,
        "-m",
        "ringback",
        "serve",
        f"{example}:service",
        "--bind",
        "tcp://127.0.0.1:*",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as server:
        try:
            endpoint = server.stdout.readline().split()[-2]
            done = subprocess.run(
                [sys.executable, str(example), endpoint],
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
        finally:
            server.terminate()
    assert done.stdout.startswith("50,069 of 100,000 pay")


def test_every_link_of_the_pages_leads_to_a_file():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_verdict_of_the_readme_is_of_cells_that_a_comparison_measures() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "ringback", "compare", "--list"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    defaults = dict(re.findall(r"^  \*\+? +([\w-]+) +(.*?);", listed, re.MULTILINE))
    text = (ROOT / "README.md").read_text()
    cells = re.findall(r"^([\w-]+), (?:request-reply|fire-and-callback): ", text, re.MULTILINE)
    assert len(cells) == 6
    assert set(cells) <= defaults.keys()
    assert f"echo: {defaults['echo']}" in text


def test_the_commands_of_the_readme_are_targets_of_the_makefile():
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    for target in re.findall(r"^\$ make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE):
        subprocess.run(
            ["make", "-n", target], cwd=ROOT, check=True, capture_output=True, env={**os.environ}
        )
