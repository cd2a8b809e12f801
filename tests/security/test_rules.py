"""Keys and access rules together: what a caller may do is decided by the name of its key, whatever
it says of itself.
"""

from __future__ import annotations

import json

import pytest
from processes import SOON
from ringback import errors

RULES = """
[[rule]]
who = ["ada"]
methods = ["*"]

[[rule]]
who = ["ben"]
methods = ["add"]

[[rule]]
who = ["anonymous"]
methods = ["count"]
"""


def test_a_key_may_call_what_the_rules_of_its_name_say(
    pairs, start_server, connected, backend, tmp_path
):
    rules = tmp_path / "access.toml"
    rules.write_text(RULES)
    options = (*pairs.options, "--access", str(rules), "--log-format", "json")
    server = start_server(backend, "service", *options)
    ada, ben = pairs.make("ada", authorized=True), pairs.make("ben", authorized=True)
    with connected(server.endpoint, **ada) as client:
        assert (client.call("add", 1, 2), list(client.stream("count", 2))) == (3, [0, 1])
    with connected(server.endpoint, **ben) as client:
        assert client.call("add", 1, 2) == 3
        assert client.fire_map("add", [1, 2], [3, 4]).result(SOON) == [4, 6]
        for view in (client, client.options(metadata={"user": "ada"})):
            with pytest.raises(errors.PermissionDenied, match="ben may not call 'count'"):
                list(view.stream("count", 2))
        assert [method["name"] for method in client.describe()["methods"]] == ["add"]
        for outcome in client.fire_map("echo", [1, 2, 3]).result(SOON):
            assert isinstance(outcome, errors.PermissionDenied)
            assert "ben may not call 'echo'" in str(outcome)
    assert server.stop() == 0
    audits = [
        line
        for line in map(json.loads, server.log.splitlines())
        if line["logger"] == "ringback.audit"
    ]
    assert {(line["user"], line["method"], line["code"]) for line in audits} >= {
        ("ben", "count", "PERMISSION_DENIED")
    }
    assert {line["user"] for line in audits} == {"ben"}
