"""Every option of every command, by flag, environment variable and file: the same value, and one
line for what is none.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
import ringback
import typer
from processes import TESTS
from ringback.cli import app  # noqa: F401 - its commands describe their options
from ringback.commands.options import DESCRIBED, Command, taking, variable, words_of
from ringback.commands.output import run_command
from ringback.errors import UsageError
from ringback.options.option import Option, completed

OPTIONS = [
    pytest.param(command, option, id=f"{command}-{name}")
    for command, options in DESCRIBED.items()
    for name, option in options.items()
    if option.in_command
]
# Values for options whose words have a form of their own.
WORDS = {"limit": "7", "metadata": ["a=1", "b=2"], "resources": ["db=4", "gpu=1.5"], "time": "90"}


def some_words(option: Option) -> list[str]:
    """Words that are a value of the option, and not its default."""
    if option.name in WORDS:
        words = WORDS[option.name]
        return words if isinstance(words, list) else [words]
    if option.kind in (int, float):
        return [
            str(
                int(
                    option.at_most - 1
                    if option.at_most
                    else (option.at_least or option.above or 0) + 57
                )
            )
        ]
    if option.choices:
        return [word for word in option.words if word and word != option.default][
            : 2 if option.repeated else 1
        ]
    return ["one", "two"] if option.repeated else ["word"]


class Probe:
    """A command with these options, which notes what it is given."""

    def __init__(self, command: str) -> None:
        self.given: dict[str, Any] = {}
        self._app = typer.Typer(rich_markup_mode=None)

        def probe(options: Any) -> None:
            self.given = options

        self._app.command(cls=Command)(taking(command, DESCRIBED[command])(probe))

    def __call__(self, *words: str) -> int:
        self.given = {}
        return run_command(self._app, words)


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("RINGBACK_"):
            monkeypatch.delenv(name)


def toml(option: Option, words: list[str], *, native: bool) -> str:
    """The value as TOML has it."""
    if option.kind is bool:
        return "false" if option.default else "true"
    if option.repeated:
        if native and "=" in words[0]:
            return "{" + ", ".join(word.replace("=", " = ") for word in words) + "}"
        return str(words)
    return words[0] if native and option.kind in (int, float) else f'"{words[0]}"'


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_each_way_gives_the_same_value(
    command: str, option: Option, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe, words = Probe(command), some_words(option)
    if option.kind is bool:
        flags = [f"--no-{option.flag}" if option.default else f"--{option.flag}"]
        in_variable = "0" if option.default else "1"
    else:
        flags = [part for word in words for part in (f"--{option.flag}", word)]
        in_variable = " ".join(words)

    assert probe() == 0
    default = probe.given[option.name]
    assert probe(*flags) == 0
    value = probe.given[option.name]
    assert value != default

    with monkeypatch.context() as environment:
        environment.setenv(variable(option, command), in_variable)
        assert probe() == 0
        assert probe.given[option.name] == value
    if option.variable:
        with monkeypatch.context() as environment:
            environment.setenv(option.variable, in_variable)
            assert probe() == 0
            assert probe.given[option.name] == value

    for native in (True, False):
        text = toml(option, words, native=native)
        for key in (option.flag, option.flag.replace("-", "_")):
            for table in (f"[{command}]\n", "", f"[tool.ringback.{command}]\n"):
                Path("some.toml").write_text(f"{table}{key} = {text}\n")
                assert probe("--config", "some.toml") == 0, table
                assert probe.given[option.name] == value
        Path("pyproject.toml").write_text(f"[tool.ringback.{command}]\n{option.flag} = {text}\n")
        assert probe() == 0
        assert probe.given[option.name] == value
        Path("pyproject.toml").unlink()


def test_the_nearest_way_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = Probe("serve")
    Path("pyproject.toml").write_text(
        "[tool.ringback.serve]\nworkers = 1\nmax-size = 100_000\nzone = 'p'\n"
    )
    Path("file.toml").write_text(
        "workers = 2\nmax_size = 200_000\n[serve]\nmax_size = 300_000\n[call]\nkey = 'x'\n"
    )
    assert probe() == 0
    assert (probe.given["workers"], probe.given["max_size"], probe.given["zone"]) == (
        1,
        100_000,
        "p",
    )
    assert probe("--config", "file.toml") == 0
    assert (probe.given["workers"], probe.given["max_size"], probe.given["zone"]) == (
        2,
        300_000,
        "p",
    )
    monkeypatch.setenv("RINGBACK_SERVE_CONFIG", "file.toml")
    monkeypatch.setenv("RINGBACK_SERVE_WORKERS", "3")
    monkeypatch.setenv("RINGBACK_TRANSPORT", "libzmq")
    assert probe() == 0
    assert (probe.given["workers"], probe.given["max_size"]) == (3, 300_000)
    assert probe.given["transport"] == "libzmq"
    monkeypatch.setenv("RINGBACK_SERVE_TRANSPORT", "native")
    assert probe("--workers", "4") == 0
    assert (probe.given["workers"], probe.given["transport"]) == (4, "native")


@pytest.mark.parametrize(
    ("content", "words", "line"),
    [
        ("workers = 0", (), "file.toml: workers must be a whole number, 1 or more, not 0"),
        ("[serve]\nworkers = 1.5", (), "file.toml [serve]: workers must be a whole number"),
        ("[serve]\nworkers = [1]", (), "file.toml [serve]: workers must be one value, not [1]"),
        ("uvloop = 1", (), "file.toml: uvloop must be true or false, not 1"),
        (
            "[serve]\nworker = 1",
            (),
            "file.toml [serve]: there is no option 'worker' (did you mean workers?)",
        ),
        ("[serve", (), "file.toml is not TOML: "),
        ("", ("--workers", "many"), "--workers must be a whole number, 1 or more, not 'many'"),
        (
            "",
            ("--log-level", "warn"),
            "--log-level must be debug, info, warning or error, not 'warn' (did you mean warning?)",
        ),
        ("", ("--resource", "db"), "--resource must be NAME=AMOUNT, such as db=4, not 'db'"),
    ],
)
def test_what_is_no_value_is_named_with_its_place(
    content: str, words: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file.toml").write_text(content)
    assert Probe("serve")("--config", "file.toml", *words) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"ringback: {line}"), said
    assert said.count("\n") == 1


def test_a_file_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert Probe("serve")("--config", "none.toml") == 2
    assert (
        capsys.readouterr().err == "ringback: none.toml cannot be read: No such file or directory\n"
    )


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("--port", "--bind ENDPOINT"),
        ("-w", "--processes N"),
        ("--threads", "--workers N"),
        ("--verbose", "--log-level debug"),
        ("--graceful-timeout", "--drain-timeout SECONDS"),
        ("--max-conections", "--max-connections"),
    ],
)
def test_an_option_of_another_tool_is_told_by_its_name_here(
    word: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Probe("serve")(word, "5") == 2
    assert f"there is no option {word}, did you mean {hint}?" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["serve", "compare", "tune", "call", "report"])
def test_help_fits_in_80_columns(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert ringback.cli.main([command, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(
        any(f"--{option.flag}" in line for line in lines)
        for option in DESCRIBED[command].values()
        if option.in_command
    )


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_a_help_text_is_one_sentence_without_a_full_stop(command: str, option: Option) -> None:
    assert (
        option.help[0] == option.help[0].upper()
        or option.help.split()[0].rstrip(";:") in option.words
    )
    assert not option.help.endswith(".")
    assert len(option.help) <= 100


def test_the_page_of_options_is_as_they_are_described() -> None:
    sys.path.insert(0, str(TESTS.parent / "docs" / "reference"))
    try:
        import options as generator
    finally:
        del sys.path[0]
    assert generator.PAGE.read_text() == generator.page(), "run python docs/reference/options.py"


class Numbers(TypedDict, total=False):
    few: Annotated[int, Option("Some", 1, at_least=1, at_most=9)]
    seconds: Annotated[float | None, Option("Time", unit="seconds", above=0)]
    word: Annotated[str, Option("Word", "a", choices=("a", "b"))]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"few": 0}, "few must be a whole number, at least 1 and at most 9, not 0"),
        ({"few": True}, "few must be a whole number, at least 1 and at most 9, not True"),
        ({"few": 10}, "at most 9, not 10"),
        ({"seconds": 0}, "seconds must be a number of seconds, above 0, or None, not 0"),
        ({"seconds": float("nan")}, "above 0, or None, not nan"),
        ({"word": "c"}, "word must be a or b, not 'c'"),
    ],
)
def test_a_value_that_is_none_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        completed(Numbers, given, "f")


def test_what_is_given_is_completed_by_defaults() -> None:
    assert completed(Numbers, {"seconds": 2}, "f") == {"few": 1, "seconds": 2, "word": "a"}
    with pytest.raises(
        TypeError, match=r"f got an unexpected keyword argument 'fewer'\. Did you mean 'few'\?"
    ):
        completed(Numbers, {"fewer": 2}, "f")


def test_a_signature_shows_the_options() -> None:
    import inspect

    parameters = inspect.signature(ringback.Server).parameters
    assert parameters["max_connections"].default == 10_000
    assert list(parameters)[:2] == ["service", "bind"]
    assert "`max_connections`: Maximum connections" in (ringback.Server.__doc__ or "")
    assert inspect.signature(ringback.serve).parameters["workers"].default is None


def test_a_comparison_takes_no_options_of_the_users_own_servers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ringback.options.files import isolated

    Path("pyproject.toml").write_text("[tool.ringback.serve]\nworkers = 1\n")
    monkeypatch.setenv("RINGBACK_SERVE_WORKERS", "2")
    probe = Probe("serve")
    assert probe() == 0
    assert probe.given["workers"] == 2
    environment = isolated(os.environ, "serve")
    monkeypatch.delenv("RINGBACK_SERVE_WORKERS")
    for name in environment.keys() - os.environ.keys():
        monkeypatch.setenv(name, environment[name])
    assert "RINGBACK_SERVE_WORKERS" not in environment
    assert probe() == 0
    assert probe.given["workers"] is None


def test_a_switch_that_a_file_has_turned_on_is_turned_off_by_flag(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    probe = Probe("serve")
    Path("pyproject.toml").write_text("[tool.ringback.serve]\nuvloop = true\nreload = true\n")
    assert probe() == 0
    assert probe.given["uvloop"] is True
    assert probe("--no-uvloop") == 0
    assert probe.given["uvloop"] is False
    monkeypatch.setenv("RINGBACK_SERVE_RELOAD", "off")
    assert probe() == 0
    assert (probe.given["uvloop"], probe.given["reload"]) == (True, False)


def test_words_of_a_variable_are_as_a_shell_has_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    probe = Probe("compare")
    monkeypatch.setenv("RINGBACK_COMPARE_ARM", "'uv=asyncio --uvloop' plain=asyncio")
    assert probe() == 0
    assert probe.given["arm"] == ["uv=asyncio --uvloop", "plain=asyncio"]
    monkeypatch.setenv("RINGBACK_COMPARE_ARM", "'uv=asyncio")
    assert probe() == 2
    assert capsys.readouterr().err == "ringback: RINGBACK_COMPARE_ARM: No closing quotation\n"


def test_values_of_a_table_keep_their_types() -> None:
    probe = Probe("call")
    Path("file.toml").write_text(
        'metadata = {a = true, b = "5", c = [1, "z"], d = {e = 1}, f = "x"}'
    )
    assert probe("--config", "file.toml") == 0
    assert probe.given["metadata"] == {"a": True, "b": "5", "c": [1, "z"], "d": {"e": 1}, "f": "x"}


@pytest.mark.parametrize(
    ("project", "file", "line"),
    [
        (
            '[tool.ringback]\nserve = "x"',
            "",
            "pyproject.toml [tool.ringback]: serve must be a table of options, not 'x'",
        ),
        (
            "[tool.ringback.srve]",
            "",
            "pyproject.toml [tool.ringback]: there is no command 'srve' (did you mean serve?)",
        ),
        (
            "[tool.ringback]\nworkers = 1",
            "",
            "pyproject.toml [tool.ringback]: there is no option 'workers'",
        ),
        (
            "[tool]\nringback = 1",
            "",
            "pyproject.toml: tool.ringback must be a table, with one for each command",
        ),
        ("", "[srve]", "file.toml: there is no command 'srve' (did you mean serve?)"),
        ("", "serve = 1", "file.toml: serve must be a table of options, not 1"),
        ("", "workerss = 1", "file.toml: there is no option 'workerss' (did you mean workers?)"),
    ],
)
def test_a_table_of_no_command_is_refused(
    project: str, file: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("pyproject.toml").write_text(project)
    Path("file.toml").write_text(file)
    assert Probe("serve")("--config", "file.toml") == 2
    assert capsys.readouterr().err == f"ringback: {line}\n"


@pytest.mark.parametrize(
    ("command", "variables", "words", "line"),
    [
        (
            "serve",
            {"RINGBACK_SERVE_UVLOOP": "ja"},
            (),
            "RINGBACK_SERVE_UVLOOP must be true or false, not 'ja'",
        ),
        (
            "serve",
            {},
            ("--worker-memory", "x"),
            "--worker-memory must be a whole number of MiB, 1 or more, not 'x'",
        ),
        (
            "serve",
            {},
            ("--worker-memory", "0"),
            "--worker-memory must be a whole number of MiB, 1 or more, not '0'",
        ),
        ("call", {"RINGBACK_CALL_METADATA": "a"}, (), "RINGBACK_CALL_METADATA must be NAME=JSON"),
        (
            "call",
            {},
            ("--priority", "9" * 30),
            "--priority must be a whole number, at least -9,223,372,036,854,775,808",
        ),
        ("call", {}, ("--key", ""), "--key must be a string of 1 to 255 characters, not ''"),
        (
            "call",
            {},
            ("--key", "\udcff"),
            "--key must be a string of 1 to 255 characters, not '\\udcff'",
        ),
    ],
)
def test_what_is_no_value_is_one_line_wherever_it_stands(
    command: str,
    variables: dict[str, str],
    words: tuple[str, ...],
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Probe(command)(*words) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"ringback: {line}"), said
    assert said.count("\n") == 1


def test_values_like_those_of_a_type_are_taken_as_that_type() -> None:
    import enum

    numpy = pytest.importorskip("numpy")

    class Word(enum.StrEnum):
        B = "b"

    class Few(enum.IntEnum):
        TWO = 2

    for few in (Few.TWO, numpy.int64(2)):
        assert type(completed(Numbers, {"few": few}, "f")["few"]) is int
    for seconds in (numpy.float32(2), numpy.int8(2), Few.TWO):
        assert type(completed(Numbers, {"seconds": seconds}, "f")["seconds"]) is float
    given = completed(Numbers, {"word": Word.B, "seconds": float("inf")}, "f")
    assert given == {"few": 1, "seconds": float("inf"), "word": "b"}
    assert type(given["word"]) is str


def test_the_words_that_a_command_was_given_repeat_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    probing = typer.Typer(rich_markup_mode=None)

    def probe(context: typer.Context, options: Any) -> None:
        seen.append(words_of(context))
        seen.append(words_of(context, "quick", flags_alone=True))

    probing.command(cls=Command)(taking("compare", DESCRIBED["compare"])(probe))
    Path("pyproject.toml").write_text(
        '[tool.ringback.compare]\npin = false\narm = ["a=asyncio --uvloop"]\n'
    )
    monkeypatch.setenv("RINGBACK_COMPARE_ROUNDS", "3")
    assert run_command(probing, ["--quick", "--backend", "asyncio", "--backend", "gevent"]) == 0
    arms = ["--backend", "asyncio", "--backend", "gevent", "--arm", "a=asyncio --uvloop"]
    assert seen == [
        [*arms, "--quick", "--rounds", "3", "--no-pin"],
        ["--backend", "asyncio", "--backend", "gevent"],
    ]
    monkeypatch.delenv("RINGBACK_COMPARE_ROUNDS")
    Path("pyproject.toml").unlink()
    assert run_command(probing, seen[0]) == 0
    assert seen[2] == seen[0]
