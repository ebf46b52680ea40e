"""What drivers see and give, and what became of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from vavam_ros.core.contracts import Command, DensePath, EgoPose
from vavam_world.contracts.basics import U8
from vavam_world.contracts.cameras import CameraSpec
from vavam_world.contracts.motion import Collision, WorldState
from vavam_world.contracts.scenario import Scenario

if TYPE_CHECKING:
    from vavam_world.sim.simulation import Simulation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """What a driver is shown: sensors and route command; `world` is for privileged drivers only."""

    stamp_ns: int
    pose: EgoPose  # rear axle in map
    image: U8 | None  # (H, W, 3) of `camera`, taken at stamp_ns; None where the driver asked for none
    camera: CameraSpec
    command: Command
    cruise_mps: float
    world: Simulation | None = None


class Driver(Protocol):
    """Turns what is seen into the next seconds of driving, at `plan_every_ticks`."""

    name: str
    plan_every_ticks: int

    @property
    def needs_image(self) -> bool:
        """Whether the next plan needs a picture."""
        ...

    def reset(self) -> None:
        """Before a new scenario."""
        ...

    def plan(self, view: View) -> DensePath:
        """The rear axle's way from view.stamp_ns on, in the frame `map`, about 3 s, rows 0.1 s apart."""
        ...


@runtime_checkable
class HasCommandRule(Protocol):
    """A driver that knows the route's commands by a rule of its own (of vavam_ros.core.planning.command)."""

    command_rule: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """What happened in one run, one row per tick, and the plans that were followed."""

    scenario: Scenario
    driver: str
    states: tuple[WorldState, ...]
    plans: tuple[DensePath, ...]
    collisions: tuple[Collision, ...]
    finished: Literal["route", "collision", "time", "stuck", "off_road", "driver_error"]
    detail: str = ""
    images: Mapping[int, U8] = field(default_factory=dict)  # tick → picture, where kept
    beside: tuple[DensePath, ...] = ()  # paths that somebody planned meanwhile and nobody followed
    beside_name: str = ""
