"""Calls with the same key go to the same server."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringback.balancing import Load
from ringback.balancing.affinity import nearest

KEYS = [f"key {number}" for number in range(3000)]


def servers(count: int) -> list[Load]:
    return [Load(f"tcp://host:{n}") for n in range(count)]


def places(loads: list[Load]) -> dict[str, str]:
    return {key: nearest(loads, key).endpoint for key in KEYS}


@given(st.text(), st.permutations(range(6)))
def test_every_client_finds_the_same_server_in_whatever_order_it_knows_them(key, order):
    loads = servers(6)
    assert nearest([loads[n] for n in order], key) is nearest(loads, key)


def test_the_server_of_a_key_is_the_same_in_every_release():
    assert [nearest(servers(5), key).endpoint[-1] for key in ("a", "b", "c", "d", "")] == [
        "1",
        "1",
        "4",
        "4",
        "1",
    ]


@given(st.text(min_size=1), st.integers(0, 5))
def test_a_server_that_leaves_moves_only_its_own_keys(key, gone):
    loads = servers(6)
    before = nearest(loads, key)
    after = nearest([load for load in loads if load is not loads[gone]], key)
    assert after is before or before is loads[gone]


def test_the_keys_of_a_server_that_leaves_are_spread_over_all_others():
    loads = servers(6)
    before, after = places(loads), places(loads[:-1])
    moved = Counter(after[key] for key in KEYS if before[key] == loads[-1].endpoint)
    assert set(moved) == {load.endpoint for load in loads[:-1]}


def test_a_server_that_joins_takes_its_part_and_moves_nothing_else():
    loads = servers(6)
    before, after = places(loads[:-1]), places(loads)
    moved = {after[key] for key in KEYS if before[key] != after[key]}
    assert moved == {loads[-1].endpoint}
    assert sum(before[key] != after[key] for key in KEYS) == pytest.approx(len(KEYS) / 6, rel=0.15)


def test_servers_get_keys_by_their_weights():
    loads = servers(3)
    loads[0].weight = 4.0
    counts = Counter(places(loads).values())
    assert [counts[load.endpoint] / len(KEYS) for load in loads] == pytest.approx(
        [4 / 6, 1 / 6, 1 / 6], abs=0.03
    )


def test_a_heavier_server_only_gains_keys():
    loads = servers(4)
    before = places(loads)
    loads[0].weight = 2.0
    after = places(loads)
    assert {after[key] for key in KEYS if after[key] != before[key]} == {loads[0].endpoint}


def test_a_slow_start_moves_no_key():
    loads = servers(4)
    before = places(loads)
    loads[0].share = 0.1
    assert places(loads) == before


def test_half_of_a_character_is_a_key_too():
    loads = servers(3)
    assert nearest(loads, "\ud800") in loads
