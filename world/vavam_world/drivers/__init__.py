"""Drivers that need no model: expert, constant velocity, lane follower. loop.py drives them in process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vavam_ros.core.contracts import ConfigError
from vavam_world.contracts import Driver
from vavam_world.drivers.constant_velocity import ConstantVelocity
from vavam_world.drivers.expert import Expert
from vavam_world.drivers.lane_follower import LaneFollower

_MAKERS: dict[str, Callable[..., Driver]] = {"expert": Expert, "constant_velocity": ConstantVelocity, "lane_follower": LaneFollower}
NAMES: tuple[str, ...] = tuple(_MAKERS)


def make(name: str, **options: Any) -> Driver:
    """A driver by name; `options` are its constructor's. Raises ConfigError on an unknown name or option."""
    if name not in _MAKERS:
        raise ConfigError(f"driver: got {name!r}, expected one of {', '.join(NAMES)}")
    try:
        return _MAKERS[name](**options)
    except TypeError as error:
        raise ConfigError(f"driver {name}: {error}") from error


__all__ = ["NAMES", "ConstantVelocity", "Expert", "LaneFollower", "make"]
