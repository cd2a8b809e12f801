"""Registries: a server is known to clients until it leaves or its lease is over, and none is
forgotten because the store is away.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest
from processes import eventually
from registries import of_service
from ringback.discovery import source_of
from ringback.discovery.rows import Announced, prefix_of
from ringback.errors import UsageError
from ringback.state import open_state

A, B, C = (f"tcp://127.0.0.1:{port}" for port in (5555, 5556, 5557))
GREENLETS = Path(__file__).with_name("greenlets.py")


def write(
    url: str, name: str, value: object, *, service: str = "calc", ttl: float | None = None
) -> None:
    """A row, as by another hand."""
    with open_state(url) as state:
        state.put(prefix_of(service) + name, value, ttl=ttl)


def test_servers_join_and_leave(url, watched, announced):
    watch = watched(url)
    eventually(lambda: watch.source.reason == "no server of 'calc' is announced")
    announced(url, A)
    watch.until(A)
    other = announced(url, B)
    watch.until(A, B)
    other.draining()
    watch.until(A)
    assert watch.lists == [[A], [A, B], [A]]


def test_a_client_makes_no_registry_and_waits_for_one(tmp_path, watched, announced):
    url = f"sqlite:///{tmp_path / 'none.db'}"
    watch = watched(url)
    eventually(lambda: watch.source.reason == f"there is no registry {url} yet")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "none.db").touch()  # as it is before a server has made its tables
    watch.source.look()
    announced(url, A)
    watch.until(A)


@pytest.mark.parametrize("query", ["", "?service=calc"])
@pytest.mark.parametrize("content", [None, b""], ids=["no file", "an empty file"])
def test_what_is_no_registry_is_told_by_ringback_servers(run_program, tmp_path, content, query):
    if content is not None:
        (tmp_path / "none.db").write_bytes(content)
    before = list(tmp_path.iterdir())
    ran = run_program("-m", "ringback", "servers", f"sqlite:///none.db{query}")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("ringback: there is no registry sqlite:///none.db: "), ran
    assert len(ran.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == before
    assert content is None or (tmp_path / "none.db").read_bytes() == content


@pytest.mark.parametrize("style", ["threading", "gevent", "asyncio", "twisted"])
def test_a_call_by_a_registry_that_is_missing_says_so_and_makes_none(run_program, tmp_path, style):
    words = ("call", "sqlite:///none.db?service=calc", "add", "--timeout", "0.5", "--client", style)
    ran = run_program("-m", "ringback", *words)
    assert ran.status == 1
    assert "UNAVAILABLE: there is no registry sqlite:///none.db yet" in ran.err
    assert list(tmp_path.iterdir()) == []


def test_who_comes_later_is_told_what_there_is(url, watched, announced):
    announced(url, A, C)
    announced(url, B).close()
    watched(url).until(A, C)


def test_one_service_does_not_see_another(url, watched, announced):
    for number, service in enumerate(["calc2", "cal", "calc/x", "Calc"]):
        announced(url, f"tcp://127.0.0.1:{number + 1}", service=service)
    watch = watched(url)
    announced(url, A)
    watch.until(A)
    assert watch.lists == [[A]]


def test_a_service_may_have_any_name(url, watched, announced):
    announced(url, A, service="a/b & c=ä")
    watched(source=source_of(of_service(url, "a%2Fb%20%26%20c%3D%C3%A4"))).until(A)


def test_two_rows_of_one_endpoint_count_once_and_until_both_are_gone(url, watched, announced):
    first, second = announced(url, A, B), announced(url, B)
    watch = watched(url)
    watch.until(A, B)
    second.draining()
    announced(url, C)
    watch.until(A, B, C)
    first.draining()
    watch.until(C)
    assert watch.lists == [[A, B], [A, B, C], [C]]


def test_who_drains_is_not_offered(url, watched, announced):
    write(url, "one", Announced(service="calc", endpoint=A))
    watch = watched(url)
    watch.until(A)
    announced(url, B)
    watch.until(A, B)
    write(url, "one", Announced(service="calc", endpoint=A, state="draining"))
    watch.until(B)


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        {"endpoint": A},
        {"service": "calc", "endpoint": "nowhere"},
        {"service": "calc", "endpoint": "tcp://0.0.0.0:5555"},
        {"service": "calc", "endpoint": 7},
    ],
)
def test_what_is_no_row_of_a_server_is_passed_over(sqlite_url, watched, announced, value):
    write(sqlite_url, "strange", value)
    watch = watched(sqlite_url)
    announced(sqlite_url, B)
    watch.until(B)
    assert watch.lists == [[B]]


def test_what_a_later_version_adds_to_a_row_is_passed_over(sqlite_url, watched):
    write(sqlite_url, "one", {"service": "calc", "endpoint": A, "colour": "red"})
    watched(sqlite_url).until(A)


def test_more_rows_than_one_look_takes(sqlite_url, watched):
    endpoints = [f"tcp://127.0.0.1:{port}" for port in range(1, 1501)]
    with open_state(sqlite_url) as state:
        for start in range(0, 1500, 500):
            with state.transaction() as tx:
                for endpoint in endpoints[start : start + 500]:
                    row = Announced(service="calc", endpoint=endpoint)
                    tx.put(prefix_of("calc") + endpoint.rpartition(":")[2], row)
    watch = watched(sqlite_url)
    watch.until(*endpoints)
    assert len(watch.lists) == 1


# Leases


def test_a_lease_that_is_over_ends_it(url, watched, announced):
    announced(url, A, lease=1.0)
    write(url, "killed", Announced(service="calc", endpoint=B, lease=1.5), ttl=1.5)
    watch = watched(url)
    watch.until(A, B)
    watch.until(A)


def test_a_lease_is_renewed_as_long_as_the_server_is_there(url, watched, announced):
    announced(url, A, lease=1.0)
    announced(url, B)
    watch = watched(url)
    watch.until(A, B)
    with open_state(url) as state:
        (key,) = (
            each.key for each in state.changes(prefix_of("calc")) if each.value["endpoint"] == A
        )
        renewed = {state.get(key)["renewed"]}
        # longer than its lease
        eventually(lambda: renewed.add(state.get(key)["renewed"]) or len(renewed) > 4)
    assert watch.lists == [[A, B]]


def test_the_last_that_are_known_are_kept_when_all_are_gone(url, watched, announced):
    one, other = announced(url, A), announced(url, B)
    watch = watched(url)
    watch.until(A, B)
    with open_state(url) as state, state.transaction() as tx:
        for each in state.changes(prefix_of("calc")):
            tx.delete(each.key)
    eventually(lambda: watch.source.reason == "no server of 'calc' is announced")
    for each in (one, other):
        each.close()
    announced(url, C)
    watch.until(C)
    assert watch.lists == [[A, B], [C]]


# A store that is away


def test_an_outage_of_the_store_keeps_the_list_though_all_leases_run_out(
    valkey, watched, announced
):
    url, lease = valkey.url(), 2.0
    announced(url, A, lease=lease)
    announced(url, B, lease=lease)
    watch = watched(url)
    watch.until(A, B)
    valkey.kill()
    over = time.monotonic() + lease
    eventually(lambda: "the registry does not answer: " in watch.source.reason)
    eventually(lambda: time.monotonic() > over)
    valkey.start()
    announced(url, C)
    watch.until(A, B, C)
    assert watch.lists == [[A, B], [A, B, C]]


def test_who_is_gone_after_an_outage_is_given_up_then(valkey, watched, announced):
    url = valkey.url()
    announced(url, A)
    write(url, "killed", Announced(service="calc", endpoint=B, lease=1.5), ttl=1.5)
    watch = watched(url)
    watch.until(A, B)
    valkey.kill()
    eventually(lambda: "does not answer" in watch.source.reason)
    valkey.start()
    watch.until(A)


def test_a_store_that_came_back_empty_keeps_the_list_until_somebody_is_there(
    valkey, watched, announced
):
    url = valkey.url()
    write(url, "gone", Announced(service="calc", endpoint=A, lease=1.0))
    watch = watched(url)
    watch.until(A)
    valkey.ask("FLUSHALL")
    eventually(lambda: watch.source.reason == "no server of 'calc' is announced")
    announced(url, B)
    watch.until(B)
    assert watch.lists == [[A], [B]]


def test_a_store_that_is_down_at_the_start_is_asked_until_it_is_there(
    valkey, watched, announced, caplog
):
    caplog.set_level(logging.INFO, "ringback.discovery")
    url = valkey.url()
    valkey.kill()
    watch = watched(url)
    announced(url, A, away=True)
    eventually(lambda: "the registry does not answer: " in watch.source.reason)
    eventually(lambda: "cannot announce this server in the registry" in caplog.text)
    valkey.start()
    watch.until(A)
    assert caplog.text.count("this server") == 2  # the start and the end of the outage


def test_a_silent_store_does_not_hold_up_the_end_of_a_server(valkey, announced):
    announcement = announced(valkey.url(), A, lease=1.0)
    with open_state(valkey.url()) as state:
        assert state.version() is not None
    valkey.stop()
    try:
        begun = time.monotonic()
        announcement.draining()
        announcement.close()
        assert time.monotonic() - begun < 2.0
    finally:
        valkey.go_on()


def test_a_registry_is_watched_in_a_program_that_gevent_has_patched(url, announced, run_program):
    pytest.importorskip("gevent")
    announced(url, A, B)
    ran = run_program(str(GREENLETS), of_service(url))
    assert ran.lines == [f"{A} {B}"], ran


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://host", "http://host is not a registry: give the URL of a state store"),
        ("sqlite:///registry.db?service=calc", "leave out ?service="),
        ("sqlite:///registry.db?color=red", "there is no option 'color'"),
        ("sqlite:///no/such/directory/registry.db", "cannot open the state store"),
        ("valkey://host:6379/0?color=red", "bad address of a state store"),
    ],
)
def test_what_is_no_registry_is_told_in_one_line(announced, url, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        announced(url, A)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "x" * 600, 7])
def test_a_service_has_a_short_name(announced, sqlite_url, name):
    with pytest.raises(
        UsageError, match="the name of a service in a registry must be a short non-empty string"
    ):
        announced(sqlite_url, A, service=name)
