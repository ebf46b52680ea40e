"""Suites: frozen by hash, disjoint between splits, and held out by family."""

from __future__ import annotations

import json
from itertools import combinations

import pytest
from vavam_world.contracts import Scenario
from vavam_world.scenarios.families import HELD_OUT, allowed, families_of
from vavam_world.scenarios.suites import GROUPS, SPLITS, SUITES, Suite, check_frozen, frozen_hashes, suite, suites_named

from vavam_ros.core.contracts import ConfigError


def test_every_suite_is_what_the_repository_froze() -> None:
    """An intended change gets a new suite name, or new hashes from `python -m vavam_world.scenarios.freeze` together with a line in the changelog."""
    assert {f"{n}/{s}": suite(n, s).sha256 for n in SUITES for s in SPLITS} == frozen_hashes()


def test_a_changed_suite_is_refused() -> None:
    whole = suite("curves")
    with pytest.raises(ConfigError, match="curves/test: got sha256"):
        check_frozen(Suite(name=whole.name, split=whole.split, kind=whole.kind, scenarios=whole.scenarios[1:]))


def seeds(scenarios: tuple[Scenario, ...]) -> set[int]:
    return {seed for s in scenarios for seed in (s.map.seed, s.look.seed, s.route.seed, s.traffic.seed)}


def test_no_two_suites_share_a_seed() -> None:
    every = {(n, s): seeds(suite(n, s).scenarios) for n in SUITES for s in SPLITS}
    assert not [(a, b) for a, b in combinations(every, 2) if every[a] & every[b]]


def test_held_out_families_appear_in_their_split_only() -> None:
    for name in SUITES:
        assert not any(families_of(s) & HELD_OUT for split in ("train", "test") for s in suite(name, split).scenarios)
        assert all(families_of(s) & HELD_OUT for s in suite(name, "test_held_out").scenarios)
    shown = set().union(*(families_of(s) for n in SUITES for s in suite(n, "test_held_out").scenarios))
    assert shown >= HELD_OUT


def test_safety_has_fifty_variants_of_each_intruder_on_each_road() -> None:
    for kind in GROUPS["safety"]:
        names = [s.name for s in suite(kind).scenarios]
        assert len(set(names)) == len(names)
        for road, map_kind in (("straight", "straight"), ("curve", "curves")):
            variants = [s for s in suite(kind).scenarios if s.name.startswith(f"{kind}/{road}/")]
            assert len({json.dumps(s.to_dict(), sort_keys=True) for s in variants}) >= 50
            assert all(s.intruder is not None and s.intruder.kind == kind and s.map.kind == map_kind for s in variants)


def test_groups_expand_and_unknown_names_are_refused() -> None:
    assert [s.name for s in suites_named("curves,routes")] == ["curves", *[n for n in GROUPS["routes"] if n != "curves"]]
    with pytest.raises(ConfigError, match="got 'curvs', expected one of lane_keeping"):
        suites_named("curvs")
    with pytest.raises(ConfigError, match="got unknown snow, expected some of"):
        allowed({"snow"})
    with pytest.raises(ConfigError, match="got every weather"):
        allowed({"clear", "overcast", "dusk", "rain", "fog"})
