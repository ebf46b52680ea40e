"""Drivers: expert, constant velocity, lane follower, and a model without its nodes (model_driver.py). loop.py drives them in process."""

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

DIRECT = "vavam_direct"  # a model, by the core's pipeline in this process
PLANNER_HELP = "settings of the planner: samples, steps, seed, selection, noise, context, keep_frames, plan_rate_hz (default: its own; of the frames)"


def make(name: str, **options: Any) -> Driver:
    """A driver by name; `options` are its constructor's. Raises ConfigError on an unknown name or option, ArtifactError on a model that
    cannot be loaded."""
    if name == DIRECT:
        from vavam_world.drivers.model_driver import ModelDriver  # torch, for who needs it

        return ModelDriver(**options)
    if name not in _MAKERS:
        raise ConfigError(f"driver: got {name!r}, expected one of {', '.join((*NAMES, DIRECT))}")
    try:
        return _MAKERS[name](**options)
    except TypeError as error:
        raise ConfigError(f"driver {name}: {error}") from error


__all__ = ["DIRECT", "NAMES", "PLANNER_HELP", "ConstantVelocity", "Expert", "LaneFollower", "make"]
