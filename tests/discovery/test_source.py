"""What all sources promise, whatever tells them: shown with one that is told by the test."""

from __future__ import annotations

import logging
import time
from itertools import pairwise

import pytest
from processes import eventually
from ringback import errors
from ringback.discovery import source_of
from ringback.discovery.source import Source


class Told(Source):
    """Finds what `answer` is: a list, or an error."""

    def __init__(self, answer, pause=0.01):
        super().__init__("told://test", pause, "nobody has looked yet")
        self.answer = answer
        self.looks = []
        self.let_go = False

    def _find(self):
        self.looks.append(time.monotonic())
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def _none(self):
        return "there is none"

    def _let_go(self):
        self.let_go = True

    def looked(self, times=3):
        seen = len(self.looks)
        eventually(lambda: len(self.looks) >= seen + times)


def test_a_list_is_told_first_when_it_is_known_and_then_when_it_differs(watched):
    watch = watched(source=Told([]))
    watch.source.looked()
    assert (watch.none_at_first, watch.lists) == (True, [])
    for answer in (["a"], ["a", "b"], ["b"]):
        watch.source.answer = answer
        watch.until(*answer)
        watch.source.looked()
    assert watch.lists == [["a"], ["a", "b"], ["b"]]


@pytest.mark.parametrize("trouble", [[], errors.Unavailable("away")], ids=["empty", "error"])
def test_what_is_known_is_kept_where_there_is_nothing_else(watched, trouble):
    watch = watched(source=Told(["a"]))
    watch.until("a")
    watch.source.answer = trouble
    watch.source.looked()
    watch.source.answer = ["a", "b"]
    watch.until("a", "b")
    assert watch.lists == [["a"], ["a", "b"]]


def test_the_reason_says_why_nothing_is_known(watched):
    source = Told(errors.Unavailable("the registry is away"))
    assert source.reason == "nobody has looked yet"
    watch = watched(source=source)
    eventually(lambda: source.reason == "the registry is away")
    source.answer = []
    eventually(lambda: source.reason == "there is none")
    source.answer = ["a"]
    watch.until("a")
    assert source.reason == ""


def test_an_outage_is_logged_once_and_its_end_once(watched, caplog):
    caplog.set_level(logging.INFO, "ringback.discovery")
    watch = watched(source=Told(["a"]))
    watch.until("a")
    watch.source.answer = errors.Unavailable("the registry is away")
    watch.source.looked()
    watch.source.answer = ["a"]
    watch.source.looked()
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("WARNING", "told://test: the registry is away; keeping the last 1 known"),
        ("INFO", "told://test: servers known again: 1"),
    ]


def test_a_look_that_is_asked_for_comes_soon_but_not_more_than_once_a_second(watched):
    watch = watched(source=Told(["a"], pause=3600.0))
    watch.until("a")
    looks = watch.source.looks
    eventually(lambda: watch.source.look() or len(looks) >= 3)
    assert min(later - sooner for sooner, later in pairwise(looks)) > 0.95


def test_nothing_is_told_after_close(watched):
    watch = watched(source=Told(["a"]))
    watch.until("a")
    watch.source.close()
    watch.source.answer = ["b"]
    eventually(lambda: watch.source.let_go)
    assert watch.lists == [["a"]]


def test_a_source_that_was_never_started_lets_go_too():
    source = Told(["a"])
    source.close()
    assert source.let_go


@pytest.mark.parametrize("place", ["tcp://127.0.0.1:5555", "ipc:///tmp/calc", "inproc://calc"])
def test_an_endpoint_is_no_source(place):
    assert source_of(place) is None


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("calc", "'calc' is not an address of servers: give an endpoint, as "),
        ("http://host:80", "'http://host:80' is not an address of servers"),
        (5555, "5555 is not an address of servers"),
        ("tcp://host", "bad endpoint 'tcp://host'"),
        ("dns://host", "dns://host: the name needs a port, as dns://host:5555"),
        ("dns://host:0", "'0' is not a port: give a number from 1 to 65535"),
        ("dns://host:99999", "'99999' is not a port"),
        ("dns://host:abc", "'abc' is not a port"),
        ("dns://:5555", "the name needs a port"),
        ("dns://host:5555/x", "'5555/x' is not a port"),
        (f"dns://{'a' * 64}.org:5555", "is not a host name"),
        (
            "dns://host:5555?refresh=0",
            "refresh must be a number of seconds above 0, at most 86,400, not '0'",
        ),
        ("dns://host:5555?refresh=nan", "refresh must be a number"),
        ("dns://host:5555?refresh=soon", "refresh must be a number"),
        ("dns://host:5555?fresh=1", "there is no option 'fresh', only refresh"),
        ("dns://host:5555?refresh", "write options as ?name=value"),
        ("dns://host:5555?refresh=1&refresh=2", "the option 'refresh' is given twice"),
        (
            "sqlite:///file.db",
            "sqlite:///file.db: the registry needs the name of a service: add ?service=NAME",
        ),
        (
            "sqlite:///file.db?service=",
            "the name of a service in a registry must be a short non-empty string",
        ),
        ("sqlite:///file.db?service=calc&color=red", "there is no option 'color'"),
        ("sqlite:///no/such/directory/file.db?service=calc", "cannot open the state store"),
        ("sqlite://?service=calc", "names no file"),
        ("valkey://host:6379/0", "needs the name of a service"),
        ("valkey://host:6379/0?service=calc&color=red", "bad address of a state store"),
    ],
)
def test_what_is_no_place_is_told_in_one_line(place, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.UsageError) as caught:
        source_of(place)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_password_is_not_told():
    with pytest.raises(errors.UsageError) as caught:
        source_of("valkey://me:secret@host:6379/0")
    assert str(caught.value).startswith("valkey://host:6379/0: ")
