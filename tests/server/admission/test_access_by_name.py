"""What users may call, by the names of their keys, and what is told of those who may not."""

from __future__ import annotations

from pathlib import Path

import pytest
import ringback
from asking import asking, refused
from msgspec import Raw
from processes import eventually
from ringback import errors
from ringback.clients.threading import connect
from ringback.protocol.messages import Call
from ringback.protocol.server import ServerMachine, Session


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Who connects next is the user under "user"."""
    next_: dict[str, str] = {}
    connected = ServerMachine.connected

    def by_name(machine: ServerMachine, address: bytes, peer: str) -> Session:
        session = connected(machine, address, peer)
        session.user = next_["user"]
        return session

    monkeypatch.setattr(ServerMachine, "connected", by_name)
    return next_


@pytest.fixture
def service() -> ringback.Service:
    service = ringback.Service("few")

    @service.method
    def add(a: int, b: int) -> int:
        return a + b

    @service.method
    def pay(amount: int) -> int:
        "Secret."
        return amount

    @service.method(inline=True)
    def priority() -> int:
        return ringback.current_call().priority

    return service


def serving(
    service: ringback.Service, path: Path, rules: str, **options: object
) -> ringback.Server:
    path.write_text(rules)
    return ringback.Server(
        service, "tcp://127.0.0.1:*", backend="threading", access=path, **options
    )


def rule(who: str, methods: str, more: str = "") -> str:
    return f"[[rule]]\nwho = [{who}]\nmethods = [{methods}]\n{more}\n"


def test_users_may_call_what_their_rules_say(named, service, tmp_path):
    rules = rule("'alice'", "'add', 'pay'") + rule("'*'", "'add'")
    with serving(service, tmp_path / "access.toml", rules) as server:
        for user, pay in (("alice", 7), ("bob", None), ("", None)):
            named["user"] = user
            with connect(server.endpoint) as client:
                if pay is None:
                    with pytest.raises(
                        errors.PermissionDenied, match=f"{user or 'anonymous'} may not call 'pay'"
                    ):
                        client.call("pay", 7)
                else:
                    assert client.call("pay", 7) == pay
                if user:
                    assert client.call("add", 1, 2) == 3


def test_who_may_call_nothing_learns_nothing(named, service, tmp_path):
    named["user"] = "mallory"
    with (
        serving(
            service, tmp_path / "access.toml", rule("'alice'", "'*'"), zone="north", role="primary"
        ) as server,
        asking(server.endpoint) as client,
    ):
        assert (client.welcome.service, client.welcome.methods, client.welcome.about) == (
            "",
            {},
            None,
        )
        client.say(
            Call(1, "ringback.describe", Raw(b"\x90")), Call(2, "ringback.ping", Raw(b"\x90"))
        )
        assert client.next().code == "PERMISSION_DENIED"
        assert client.next().result is not None


def test_the_audit_names_the_user(named, service, tmp_path, caplog):
    named["user"] = "mallory"
    with (
        serving(service, tmp_path / "access.toml", rule("'alice'", "'*'")) as server,
        connect(server.endpoint) as client,
        pytest.raises(errors.PermissionDenied),
    ):
        client.call("pay", 1)
    (record,) = [record for record in caplog.records if record.name == "ringback.audit"]
    assert (record.user, record.method) == ("mallory", "pay")
    assert "refused mallory at 127.0.0.1" in record.getMessage()


def test_a_noisy_caller_does_not_hide_another_from_the_audit(named, service, tmp_path, caplog):
    with serving(service, tmp_path / "access.toml", rule("'alice'", "'*'")) as server:
        for user, calls in (("noisy", 50), ("quiet", 1)):
            named["user"] = user
            with connect(server.endpoint) as client:
                for _ in range(calls):
                    with pytest.raises(errors.PermissionDenied):
                        client.call("pay", 1)
    assert [record.user for record in caplog.records if hasattr(record, "user")].count("quiet") == 1


def test_a_priority_is_bounded_by_the_rule(named, service, tmp_path):
    rules = rule("'alice'", "'*'", "max_priority = 10") + rule("'bob'", "'*'")
    with serving(service, tmp_path / "access.toml", rules) as server:
        for user, asked, given in (
            ("alice", 50, 10),
            ("alice", 7, 7),
            ("alice", -50, -50),
            ("bob", 50, 50),
        ):
            named["user"] = user
            with connect(server.endpoint) as client:
                assert client.options(priority=asked).call("priority") == given


def test_new_rules_hold_for_clients_that_are_connected_and_broken_ones_do_not(
    named, service, tmp_path, caplog
):
    named["user"] = "alice"
    path = tmp_path / "access.toml"
    with (
        serving(service, path, rule("'alice'", "'add'")) as server,
        connect(server.endpoint) as client,
    ):
        assert refused(client, "pay")
        path.write_text(rule("'alice'", "'pay', 'ringback.stats'"))
        eventually(lambda: refused(client, "add"))
        assert client.call("pay", 7) == 7
        path.write_text("[[rule]]\nwho = 1")
        eventually(
            lambda: any("the old ones stay" in record.getMessage() for record in caplog.records)
        )
        assert client.call("pay", 7) == 7
        assert refused(client, "add")


def test_a_pattern_that_fits_no_method_is_told_at_the_start(service, tmp_path, caplog):
    with serving(service, tmp_path / "access.toml", rule("'alice'", "'add', 'apy'")):
        pass
    assert [
        record.getMessage() for record in caplog.records if "no method fits" in record.getMessage()
    ] == [f"access rules {tmp_path / 'access.toml'}: no method fits rule 1: 'apy'"]


def test_interceptors_see_only_what_was_let_in(named, service, tmp_path):
    named["user"] = "alice"
    seen = []

    @service.use
    def watch(call):
        seen.append(call.method)
        yield

    with (
        serving(service, tmp_path / "access.toml", rule("'alice'", "'add'")) as server,
        connect(server.endpoint) as client,
    ):
        assert refused(client, "pay")
        assert client.call("add", 1, 2) == 3
        assert [one["name"] for one in client.describe()["methods"]] == ["add"]
    assert seen == ["add", "ringback.describe"]


def test_what_is_refused_is_counted(named, service, tmp_path):
    named["user"] = "alice"
    rules = rule("'alice'", "'add', 'ringback.*'")
    with (
        serving(service, tmp_path / "access.toml", rules) as server,
        connect(server.endpoint) as client,
    ):
        assert refused(client, "pay")
        client.notify("pay", 1)
        assert client.call("ringback.stats")["methods"]["pay"]["refused"] == 2
