"""What one process invalidates is dropped by all that share its store."""

from __future__ import annotations

import pytest
from processes import eventually
from ringback import errors
from ringback.state import open_state
from ringback.state.invalidations import Invalidations


@pytest.fixture
def state(tmp_path):
    with open_state(f"sqlite:///{tmp_path}/state.db") as state:
        yield state


@pytest.fixture
def joined(state):
    """`joined(service)`: one that takes part, and the list of what it has heard."""
    began = []

    def join(service: str = "shop"):
        heard: list[tuple[str, ...]] = []
        one = Invalidations(state, service, heard.append)
        one.start()
        began.append(one)
        return one, heard

    yield join
    for one in began:
        one.close()


def test_all_hear_what_one_tells(joined):
    one, _ = joined()
    _, heard = joined()
    one.tell(("users", "prices"))
    eventually(lambda: set(heard) == {("users",), ("prices",)})


def test_one_hears_itself_again(joined):
    one, heard = joined()
    one.tell(("users",))
    eventually(lambda: heard == [("users",)])


def test_everything_may_be_invalidated(joined):
    one, _ = joined()
    _, heard = joined()
    one.tell(())
    eventually(lambda: heard == [()])


def test_the_same_tag_is_heard_each_time(joined):
    one, _ = joined()
    _, heard = joined()
    for times in (1, 2, 3):
        one.tell(("users",))
        eventually(lambda times=times: heard == [("users",)] * times)


def test_other_services_hear_nothing(joined):
    one, heard_here = joined("shop")
    _, heard_there = joined("shop2")
    one.tell(("users",))
    eventually(lambda: heard_here)
    assert not heard_there


def test_who_comes_later_does_not_hear_what_was_before(joined):
    one, heard = joined()
    one.tell(("old",))
    eventually(lambda: heard)
    _, later = joined()
    one.tell(("new",))
    eventually(lambda: later == [("new",)])


def test_what_was_told_before_the_end_is_heard(joined, state):
    _, heard = joined()
    one = Invalidations(state, "shop", lambda tags: None)
    one.start()
    one.tell(("users",))
    one.close()
    eventually(lambda: heard == [("users",)])


def test_what_is_told_while_the_store_does_not_answer_is_heard_when_it_does(
    joined, state, monkeypatch
):
    one, _ = joined()
    _, heard = joined()
    put, tries = state.put, []

    def unwilling(*args, **options):
        tries.append(args)
        if len(tries) < 3:
            raise errors.Unavailable("not now")
        return put(*args, **options)

    monkeypatch.setattr(state, "put", unwilling)
    one.tell(("users",))
    eventually(lambda: heard == [("users",)])


def test_who_could_not_look_for_long_drops_everything(joined, monkeypatch):
    monkeypatch.setattr("ringback.state.invalidations.BLIND", -1.0)
    _, heard = joined()
    eventually(lambda: () in heard)
