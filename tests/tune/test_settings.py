"""Settings as options of `ringback serve`, and all that may be tried."""

from __future__ import annotations

import inspect

import pytest
from fakes import SPACE
from ringback import backends
from ringback.cli import app
from ringback.compare.run import observe
from ringback.compare.run.pair import ANYWHERE, Placement
from ringback.tune.request import placement
from ringback.tune.settings import Settings
from ringback.tune.space import MOST_WORKERS, Space


def test_settings_are_options_to_copy() -> None:
    full = Settings(backend="asyncio", uvloop=True, workers=64, limit="adaptive", processes=2)
    assert full.command("my app.py:service") == (
        "ringback serve 'my app.py:service' --backend asyncio --uvloop --workers 64 --limit "
        "adaptive --processes 2"
    )
    assert (
        Settings(backend="gevent").command("app.py:service")
        == "ringback serve app.py:service --backend gevent"
    )


def test_the_server_of_a_trial_is_told_just_the_options_that_are_printed() -> None:
    settings = Settings(backend="twisted", workers=3)
    words, python, _ = settings.server("app.py:service")
    assert python == ""  # that is, this one
    assert words[:2] == ("ringback.server", "app.py:service")
    assert words[2 : 2 + len(settings.options())] == settings.options()


def test_serve_has_every_option_that_settings_have() -> None:
    import typer

    known = {
        option
        for each in typer.main.get_command(app).commands["serve"].params
        for option in each.opts
    }
    full = Settings(uvloop=True, workers=64, limit="adaptive", processes=2)
    assert {word for word in full.options() if word.startswith("--")} <= known


@pytest.mark.parametrize("name", ["asyncio", "threading", "twisted", "gevent"])
def test_the_defaults_are_told_to_optuna_as_the_workers_that_servers_have(name: str) -> None:
    pytest.importorskip(name)
    default = inspect.signature(backends.load(name).__init__).parameters["workers"].default
    found = SPACE.parameters(Settings(backend=name))
    assert found["workers"] == min(default, MOST_WORKERS)
    assert (found["limit"], found["processes"]) == ("none", 1)


def test_the_defaults_are_asyncio_where_that_is_to_be_tried() -> None:
    assert SPACE.defaults == Settings(backend="asyncio")
    assert Space(("twisted",), uvloop=True, processes=1).defaults == Settings(backend="twisted")


def test_uvloop_is_a_choice_of_asyncio_alone_where_it_is_installed() -> None:
    assert [loop for loop in SPACE.loops if "uvloop" in loop] == ["asyncio --uvloop"]
    assert Space(("asyncio",), uvloop=False, processes=1).loops == ("asyncio",)
    assert Space(("gevent",), uvloop=True, processes=1).loops == ("gevent",)


def test_defaults_that_are_written_out_are_still_the_defaults() -> None:
    assert SPACE.is_default(Settings(backend="asyncio", workers=32))
    assert not SPACE.is_default(Settings(backend="asyncio", workers=33))
    assert not SPACE.is_default(Settings(backend="asyncio", uvloop=True))


def test_servers_are_apart_from_the_load_generator_only_where_all_have_processors_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(observe, "processors", lambda: [0, 1, 2, 3])
    monkeypatch.setattr(observe, "LINUX", True)
    assert placement(2) == Placement((0, 1), (2, 3))
    assert placement(3) == ANYWHERE
