"""Generator families: what can be kept out of training as a whole, not only as seeds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from vavam_ros.core.contracts import ConfigError
from vavam_world.contracts import MAP_KINDS, TEXTURE_SETS, WEATHERS, Scenario

FAMILIES: tuple[str, ...] = (*MAP_KINDS, *TEXTURE_SETS, *WEATHERS)
"""Every family by name; names are unique over map kinds, texture sets and weathers."""

HELD_OUT: frozenset[str] = frozenset({"crossroads", "industrial", "fog"})
"""Families that the splits `train` and `test` and recordings for training leave out; each scenario of `test_held_out` has one or more."""


def families_of(scenario: Scenario) -> frozenset[str]:
    """The three families that a scenario belongs to: map kind, texture set, weather."""
    return frozenset({scenario.map.kind, scenario.look.textures, scenario.look.weather})


def check_families(names: Collection[str], option: str = "--exclude") -> frozenset[str]:
    """The names as a set. Raises ConfigError on an unknown one."""
    if unknown := sorted(set(names) - set(FAMILIES)):
        raise ConfigError(f"{option}: got unknown {', '.join(unknown)}, expected some of {', '.join(FAMILIES)}")
    return frozenset(names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """What a generator may choose from, in a fixed order."""

    kinds: tuple[str, ...]
    textures: tuple[str, ...]
    weathers: tuple[str, ...]


def allowed(exclude: Collection[str]) -> Allowed:
    """All families but those excluded. Raises ConfigError where nothing is left of a sort."""
    out = check_families(exclude)

    def left(names: Sequence[str], sort: str) -> tuple[str, ...]:
        rest = tuple(n for n in names if n not in out)
        if not rest:
            raise ConfigError(f"--exclude: got every {sort} ({', '.join(names)}), expected one to be left")
        return rest

    return Allowed(kinds=left(MAP_KINDS, "map kind"), textures=left(TEXTURE_SETS, "texture set"), weathers=left(WEATHERS, "weather"))
