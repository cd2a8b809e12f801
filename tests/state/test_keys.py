"""The records of keys themselves, on an engine that is away, or whose answers are lost, at will."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from processes import eventually
from ringback import errors
from ringback.state import State, once
from ringback.state.engines.base import Engine
from ringback.state.once import KeyClaim, KeyOutcome, Keys

DONE = KeyOutcome(b"\xc3")


class Deaf:
    """A real engine; the answers to its next commits are lost, though they are made."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.read = engine.read
        self.one_machine = engine.one_machine
        self.lost = 0
        self.away = False

    def commit(self, *args, **kwargs):
        if self.away:
            raise errors.Unavailable("it is away", started=False)
        revision = self._engine.commit(*args, **kwargs)
        if self.lost:
            self.lost -= 1
            raise errors.Unavailable("the answer was lost", started=None)
        return revision


@pytest.fixture
def engine(state: State) -> Deaf:
    return Deaf(state.engine)


@pytest.fixture
def keys(engine: Deaf, state: State) -> Keys:
    return Keys(engine, state.renewals, "bank")


@pytest.fixture
def claim(keys: Keys) -> Callable[[], KeyClaim | KeyOutcome | None]:
    return lambda: keys.claim("pay", "a", b"5", 60.0, False)


def test_a_claim_is_one_for_all_until_it_is_finished(claim):
    mine = claim()
    assert claim() is None
    mine.finish(DONE)
    assert claim() == DONE


def test_who_did_not_hear_of_its_claim_gets_it_when_it_asks_again(claim, engine):
    engine.lost = 1
    with pytest.raises(errors.Unavailable):
        claim()
    claim().finish(DONE)
    assert claim() == DONE


def test_an_outcome_is_stored_though_the_answer_to_that_was_lost(claim, engine):
    mine = claim()
    engine.lost = 1
    mine.finish(DONE)
    assert claim() == DONE


def test_a_renewal_whose_answer_was_lost_costs_no_claim(claim, engine, monkeypatch):
    monkeypatch.setattr(once, "LEASE", 0.4)
    mine = claim()
    engine.lost = 1
    eventually(lambda: not engine.lost)
    time.sleep(1.0)  # beyond the lease
    assert claim() is None
    mine.finish(DONE)
    assert claim() == DONE


def test_a_claim_that_is_no_longer_renewed_is_cut(claim, state, monkeypatch):
    monkeypatch.setattr(once, "LEASE", 0.2)
    mine = claim()
    state.renewals.remove(mine)
    eventually(lambda: claim() is not None)
    assert claim() == once.CUT
    with pytest.raises(errors.Aborted, match="the claim of the key was lost"):
        mine.finish(DONE)


def test_what_may_be_repeated_is_claimed_again_after_a_cut(keys, state, monkeypatch):
    monkeypatch.setattr(once, "LEASE", 0.2)
    state.renewals.remove(keys.claim("pay", "a", b"5", 60.0, True))
    eventually(lambda: isinstance(keys.claim("pay", "a", b"5", 60.0, True), KeyClaim))


def test_a_claim_that_is_given_back_is_the_next_ones(claim):
    claim().give_back()
    assert isinstance(claim(), KeyClaim)


def test_what_is_written_with_the_outcome_is_written_with_it_alone(claim, keys, state):
    mine, tx = claim(), state.transaction()
    tx.put("balance", tx.get("balance", 0) + 5)
    state.put("balance", 100)
    with pytest.raises(once.Conflict):
        mine.finish(DONE, tx)
    assert claim() is None
    assert state.get("balance") == 100
    again = state.transaction()
    again.put("balance", again.get("balance", 0) + 5)
    mine.finish(DONE, again)
    assert claim() == DONE
    assert state.get("balance") == 105


def test_a_renewal_that_was_on_its_way_does_not_undo_the_outcome(claim):
    mine = claim()
    mine.finish(DONE)
    assert mine._renew() is None
    assert claim() == DONE


def test_a_claim_outlives_the_time_for_which_its_outcome_is_remembered(keys):
    mine = keys.claim("pay", "a", b"5", 0.1, False)
    time.sleep(0.3)
    assert keys.claim("pay", "a", b"5", 0.1, False) is None
    mine.finish(DONE)


def test_an_outcome_is_stored_when_the_store_is_back_after_long(claim, engine, monkeypatch):
    monkeypatch.setattr(once, "LEASE", 0.3)
    mine = claim()
    engine.away = True
    with pytest.raises(errors.Unavailable):
        mine.finish(DONE)
    engine.away = False
    eventually(lambda: claim() == DONE)
