"""Who may call what: a call outside its caller's rules is refused before it is looked at, and
nothing of the service is told.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from asking import asking, refused
from msgspec import Raw
from processes import ServerProcess, eventually
from ringback import errors
from ringback.protocol.messages import Call, CallOptions, Notify

RULES = """
[[rule]]
who = ["anonymous"]
methods = ["add*", "echo.*", "marks", "count"]

[[rule]]
who = ["*"]
methods = ["*"]
"""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], ServerProcess]]:
    """`servers(backend)`: one with these rules, which logs JSON; all must end with status 0."""
    path = tmp_path_factory.mktemp("access") / "access.toml"
    path.write_text(RULES)
    running: dict[str, ServerProcess] = {}

    def get(backend: str) -> ServerProcess:
        if backend not in running:
            running[backend] = ServerProcess(
                backend, "service", "--access", str(path), "--log-format", "json"
            )
        return running[backend]

    yield get
    try:
        assert [server.stop() for server in running.values()] == [0] * len(running)
    finally:
        for server in running.values():
            server.kill()


def audits(server: ServerProcess) -> list[dict]:
    lines = [json.loads(line) for line in server.log.splitlines()]
    return [line for line in lines if line["logger"] == "ringback.audit"]


def test_what_the_rules_allow_works(servers, backend, connected):
    client = connected(servers(backend).endpoint)
    assert client.call("add", 1, 2) == 3
    assert client.call("add_inline", 1, 2) == 3
    assert client.call("echo.worker", [1]) == [1]
    assert list(client.stream("count", 3)) == [0, 1, 2]
    assert client.call("ringback.ping") == "pong"


@pytest.mark.parametrize(
    "method", ["mirror", "blob", "fail", "echo", "ringback.stats", "nosuch", ""]
)
def test_a_call_outside_the_rules_is_refused_alike_whether_its_method_is_there_or_not(
    servers, backend, connected, method
):
    client = connected(servers(backend).endpoint)
    with pytest.raises(errors.PermissionDenied) as caught:
        client.call(method, 1)
    assert str(caught.value) == f"anonymous may not call {method!r}"
    with pytest.raises(errors.PermissionDenied):
        list(client.stream(method, 1))


def test_a_refused_call_has_not_begun_and_its_arguments_are_not_decoded(servers, backend):
    with asking(servers(backend).endpoint) as client:
        client.say(
            Call(1, "fail", Raw(b"\x91\xa2\xff\xff")), Call(2, "add", Raw(b"\x91\xa2\xff\xff"))
        )
        first, second = client.next(), client.next()
    assert (first.id, first.code, first.started) == (1, "PERMISSION_DENIED", False)
    assert (second.id, second.code) == (2, "INVALID_ARGUMENT")


def test_within_the_rules_a_method_that_is_not_there_is_said_to_be_missing(
    servers, backend, connected
):
    with pytest.raises(errors.MethodNotFound):
        connected(servers(backend).endpoint).call("echo.nosuch")


def test_the_welcome_and_the_description_tell_only_of_what_the_client_may_call(
    servers, backend, connected
):
    mine = [
        "add",
        "add_inline",
        "count",
        "echo.worker",
        "marks",
        "ringback.describe",
        "ringback.ping",
    ]
    with asking(servers(backend).endpoint) as client:
        assert sorted(client.welcome.methods) == mine
        assert client.welcome.methods["count"].stream
    described = connected(servers(backend).endpoint).describe()
    assert sorted(method["name"] for method in described["methods"]) == mine[:5]


def test_a_one_way_call_outside_the_rules_is_not_run_and_is_in_the_audit(
    servers, backend, connected
):
    server, name = servers(backend), f"note of {backend}"
    client = connected(server.endpoint)
    eventually(lambda: client.notify("marked_inline", name, 1) or "marked_inline" in server.log)
    assert client.call("marks", name) == []
    (line, *_) = [line for line in server.log.splitlines() if "marked_inline" in line]
    assert json.loads(line)["logger"] == "ringback.audit"


def test_each_refusal_is_a_line_of_the_audit_with_its_fields(servers, backend, connected):
    server = servers(backend)
    method = f"look for {backend} "
    client = connected(server.endpoint)
    eventually(lambda: refused(client, method) and method in server.log)
    line = next(line for line in audits(server) if line.get("method") == method)
    assert (line["level"], line["user"], line["code"]) == ("warning", "", "PERMISSION_DENIED")
    assert line["peer"].startswith("127.0.0.1")
    assert line["message"] == f"refused anonymous at {line['peer']}: may not call {method!r}"


def test_a_flood_of_refusals_is_logged_within_bounds_and_with_bounded_lines(
    servers, backend, connected
):
    server = servers(backend)
    client = connected(server.endpoint)
    before = len(server.log)
    for _ in range(1000):
        client.notify("x" * 5000)
    assert client.call("add", 1, 2) == 3
    assert len(server.log) - before < 100_000


def test_a_server_does_not_start_with_rules_that_are_wrong(run_program, tmp_path, backend):
    path = tmp_path / "access.toml"
    path.write_text("[[rule]]\nwho = ['a']\n")
    module = tmp_path / "few.py"
    module.write_text("import ringback\nservice = ringback.Service('few')\n")
    ran = run_program(
        "-m", "ringback", "serve", f"{module}:service", "--backend", backend, "--access", str(path)
    )
    assert (ran.status, ran.out) == (2, "")
    assert "rule 1: methods must be a list" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_options_of_a_refused_call_do_not_matter(servers, backend):
    with asking(servers(backend).endpoint) as client:
        options = CallOptions(priority=1 << 40, key="k", metadata={"a": 1})
        client.say(
            Notify("pay", Raw(b"\x90"), None, options),
            Call(1, "pay", Raw(b"\x90"), None, 1, 5, options),
        )
        assert client.next().code == "PERMISSION_DENIED"
