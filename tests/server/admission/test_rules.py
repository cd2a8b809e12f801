"""Access rules: who may call what, and what is said of a file that is wrong."""

from __future__ import annotations

import os
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ringback.errors import UsageError
from ringback.server.admission.rules import AccessFile, AccessRule, AccessRules, read

RULES = """
[[rule]]
who = ["alice", "billing-*"]
methods = ["balance", "accounts.*"]
max_priority = 10
rate = 100
burst = 200

[[rule]]
who = ["*"]
methods = ["balance", "status?"]

[[rule]]
who = ["anonymous"]
methods = ["status1"]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "access.toml"
    path.write_text(RULES)
    return path


def number(rule: AccessRule | None) -> int | None:
    return None if rule is None else rule.number


@pytest.mark.parametrize(
    ("user", "method", "rule"),
    [
        ("alice", "balance", 1),
        ("alice", "accounts.close", 1),
        ("alice", "accounts.old.close", 1),
        ("alice", "status2", 2),
        ("alice", "Balance", None),
        ("alice", "balances", None),
        ("alice", "xbalance", None),
        ("alice", "balance\n", None),
        ("alice", "", None),
        ("billing-7", "accounts.close", 1),
        ("Alice", "accounts.close", None),
        ("alice2", "accounts.close", None),
        ("bob", "balance", 2),
        ("", "balance", None),
        ("", "status1", 3),
        ("", "status2", None),
        ("anonymous", "status1", 2),
        ("anonymous", "accounts.close", None),
        ("bob", "ringback.stats", None),
        ("bob", "ringback.describe", 2),
        ("bob", "ringback.ping", 0),
        ("", "ringback.ping", 0),
    ],
)
def test_the_first_rule_of_a_user_that_has_the_method_decides(path, user, method, rule):
    assert number(read(path).may(user, method)) == rule


def test_what_a_rule_says_of_limits_is_read(path):
    rule = read(path).may("alice", "balance")
    assert (rule.max_priority, rule.rate.calls, rule.rate.burst) == (10, 100, 200)


def test_without_a_rule_only_pings_are_answered(tmp_path):
    path = tmp_path / "empty.toml"
    path.write_text("")
    rules = read(path)
    for user in ("", "alice"):
        assert not rules.is_known(user)
        assert rules.may(user, "ringback.describe") is None
        assert rules.may(user, "ringback.ping") is not None


def test_a_key_called_anonymous_is_not_who_has_none():
    rules = AccessRules([AccessRule(1, ("anonymous",), ("*",))])
    assert rules.may("anonymous", "add") is None
    assert rules.may("", "add") is not None


names = st.text("ab.*?", min_size=1, max_size=4)
rules_of_any_kind = st.lists(
    st.tuples(st.lists(names, min_size=1, max_size=3), st.lists(names, min_size=1, max_size=3)),
    max_size=4,
)


@settings(deadline=None, max_examples=300)
@given(
    rules_of_any_kind,
    st.text("ab.", min_size=1, max_size=4),
    st.text("ab.", min_size=1, max_size=4),
)
def test_a_call_is_allowed_if_and_only_if_some_rule_has_user_and_method(given_rules, user, method):
    rules = [
        AccessRule(n, tuple(who), tuple(methods)) for n, (who, methods) in enumerate(given_rules, 1)
    ]
    fitting = [
        rule
        for rule in rules
        if any(fnmatchcase(user, one) for one in rule.who)
        and any(fnmatchcase(method, one) for one in rule.methods)
    ]
    assert AccessRules(rules).may(user, method) == (fitting[0] if fitting else None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[rule]", "line 1"),
        ("[rule]\nwho = ['a']\nmethods = ['b']", "[[rule]]"),
        ("rule = 1", "[[rule]]"),
        ("rules = []", "'rules' is not known"),
        ("[[rule]]\nwho = ['a']", "rule 1: methods must be a list of names, or patterns with * and ?, not missing"),
        ("[[rule]]\nmethods = ['a']", "rule 1: who must be a list"),
        ("[[rule]]\nwho = 'a'\nmethods = ['b']", "rule 1: who must be a list of names, or patterns with * and ?, not 'a'"),
        ("[[rule]]\nwho = []\nmethods = ['b']", "rule 1: who must be a list"),
        ("[[rule]]\nwho = ['']\nmethods = ['b']", "rule 1: who must be a list"),
        ("[[rule]]\nwho = ['a']\nmethods = [1]", "rule 1: methods must be a list"),
        ("[[rule]]\nwho = ['a']\nmethods = ['b']\n[[rule]]\nwho = ['a']\nmethods = ['b[0-9']", "rule 2: methods: 'b[0-9' is not a pattern"),
        ("[[rule]]\nwho = ['a']\nmethods = ['b']\nmethod = ['c']", "rule 1: 'method' is not known"),
        ("[[rule]]\nwho = ['a']\nmethods = ['b']\nrate = -1", "rule 1: rate must be a number of calls a second above 0, not -1"),
        ("[[rule]]\nwho = ['a']\nmethods = ['b']\nrate = nan", "rule 1: rate must be"),
        ("[[rule]]\nwho = ['a']\nmethods = ['b']\nrate = true", "rule 1: rate must be"),
        ("[[rule]]\nwho = ['a']\nmethods = ['b']\nrate = 1\nburst = 0", "rule 1: burst must be a number of calls from 1 on, not 0"),
        ("[[rule]]\nwho = ['a']\nmethods = ['b']\nburst = 1", "rule 1: burst needs a rate"),
        ("[[rule]]\nwho = ['a']\nmethods = ['b']\nmax_priority = -1", "rule 1: max_priority must be an integer from 0 on, not -1"),
        ("[[rule]]\nwho = ['a']\nmethods = ['b']\nmax_priority = 1.5", "rule 1: max_priority must be"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_says_what_is_wrong_where(path, text, said):
    path.write_text(text)
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_no_text_is_a_mistake(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        AccessFile(tmp_path / "nosuch.toml")
    with pytest.raises(UsageError, match="cannot be read"):
        AccessFile(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="utf-8"):
        AccessFile(tmp_path / "binary")


def test_a_changed_file_is_read_anew_and_looked_at_once_a_second_at_most(path):
    file = AccessFile(path)
    assert not file.look(0.0)
    path.write_text("[[rule]]\nwho = ['bob']\nmethods = ['*']\n")
    assert not file.look(0.5)
    assert file.rules.may("bob", "accounts.close") is None
    assert file.look(1.0)
    assert file.rules.may("bob", "accounts.close") is not None
    assert not file.look(2.0)


def test_a_file_that_was_put_in_its_place_is_noticed_also_with_an_old_time_and_the_same_size(path):
    file = AccessFile(path)
    before = path.stat()
    other = path.with_suffix(".new")
    other.write_text(RULES.replace("alice", "clara"))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(path)
    assert file.look(0.0)
    assert file.rules.may("clara", "accounts.close") is not None


@pytest.mark.parametrize("broken", ["[[rule]]\nwho = 1", None], ids=["wrong", "gone"])
def test_a_broken_file_leaves_the_old_rules_and_is_complained_of_once(path, caplog, broken):
    file = AccessFile(path)
    path.unlink() if broken is None else path.write_text(broken)
    for second in range(3):
        assert not file.look(float(second))
    assert number(file.rules.may("alice", "balance")) == 1
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "the old ones stay" in record.getMessage()
    path.write_text("[[rule]]\nwho = ['bob']\nmethods = ['*']\n")
    assert file.look(9.0)


def test_patterns_that_fit_no_method_are_told():
    rules = AccessRules(
        [AccessRule(1, ("*",), ("balance", "balanze")), AccessRule(2, ("*",), ("a*",))]
    )
    assert rules.unused(["balance", "b"]) == ["rule 1: 'balanze'", "rule 2: 'a*'"]


def test_a_long_name_of_a_method_that_nearly_fits_many_stars_is_soon_refused():
    rules = AccessRules([AccessRule(1, ("*",), ("a*a*a*a*a*a*a*b",))])
    assert rules.may("bob", "a" * 100_000) is None
