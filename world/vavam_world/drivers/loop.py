"""The closed loop in one process: simulation → view → driver → path follower → control → simulation, tick by tick.

The follower is the node's own (`vavam_ros.core.follow`), so that what drives here drives live. Deterministic: the same scenario, driver
state and pictures give the same trace bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias

from vavam_ros.core.contracts import Command, ConfigError, DensePath, EgoPose, Waiting
from vavam_ros.core.follow import CarlaActuation, DriveCommand, FollowConfig, carla_control, follow
from vavam_ros.core.planning.command import CommandSource
from vavam_world.contracts import IMAGE_EVERY_TICKS, MAP_FRAME, U8, WORLD_CAMERA, CameraSpec, Control, Driver, Scenario, Trace, View, WorldState
from vavam_world.sim.simulation import Simulation

ImageFilter: TypeAlias = Callable[[int, U8], U8]
"""(tick, picture) → the picture the driver is shown instead."""
OnTick: TypeAlias = Callable[[Simulation, DensePath | None, U8 | None], None]
"""Called before each step with the simulation, the path in use and the picture of this tick, if one was taken."""

COMMAND_RULE = "reference"  # for drivers that name none (HasCommandRule), and of recordings
WAITING_BRAKE = 0.3  # 2.4 m/s², while there was a path and none can be followed


class Camera(Protocol):
    """What of a renderer the loop needs."""

    def render(self, state: WorldState) -> dict[str, U8]:
        """Picture per camera name."""
        ...


def drive(
    scenario: Scenario,
    driver: Driver,
    *,
    renderer: Camera | None = None,
    camera: CameraSpec = WORLD_CAMERA,
    follow_config: FollowConfig | None = None,
    actuation: CarlaActuation | None = None,
    latency_ticks: int = 0,
    command_rule: str = COMMAND_RULE,
    keep_images_every: int = 0,
    image_filter: ImageFilter | None = None,
    on_tick: OnTick | None = None,
) -> Trace:
    """Drive one scenario to its end.

    A plan is used from `latency_ticks` after its view on. Pictures are taken at the driver's plans where it needs them, and every
    `keep_images_every` ticks (0: none), then kept in the trace as the driver is shown them. An exception of the driver ends the run as ``driver_error``.
    Raises ConfigError where pictures are needed and there is no renderer, and on intervals that do not fit the camera's 10 Hz."""
    _check(driver, renderer, latency_ticks, keep_images_every)
    config = FollowConfig() if follow_config is None else follow_config
    actuation = CarlaActuation() if actuation is None else actuation
    sim = Simulation(scenario)
    commands = CommandSource("route", rule=command_rule)
    commands.set_route(sim.route.xy_m, MAP_FRAME)
    driver.reset()
    states = [sim.state]
    plans: list[DensePath] = []
    due: list[tuple[int, DensePath]] = []
    images: dict[int, U8] = {}
    path: DensePath | None = None
    previous: DriveCommand | None = None
    finished: Literal["route", "collision", "time", "stuck", "off_road", "driver_error"] | None = None
    detail = ""
    while (finished := sim.finished()) is None:
        tick, pose = sim.state.tick, sim.state.ego.pose(sim.state.stamp_ns)
        plans_now = tick % driver.plan_every_ticks == 0
        keeps = keep_images_every > 0 and tick % keep_images_every == 0
        image = _picture(renderer, camera, sim.state, image_filter) if keeps or (plans_now and driver.needs_image) else None
        if keeps and image is not None:
            images[tick] = image
        if plans_now:
            view = _view(sim, pose, image if driver.needs_image else None, camera, commands.at(pose.stamp_ns, pose)[0])
            try:
                plan = driver.plan(view)
            except Exception as error:  # noqa: BLE001  a driver may be anything; the run ends and says why
                finished, detail = "driver_error", f"tick {tick}: {type(error).__name__}: {error}"
                break
            plans.append(plan)
            due.append((tick + latency_ticks, plan))
        while due and due[0][0] <= tick:
            path = due.pop(0)[1]
        if on_tick is not None:
            on_tick(sim, path, image)
        control, previous = _control(path, pose, previous, config, actuation)
        states.append(sim.step(control))
    return Trace(
        scenario=scenario,
        driver=driver.name,
        states=tuple(states),
        plans=tuple(plans),
        collisions=tuple(sim.collisions),
        finished=finished,
        detail=detail,
        images=images,
    )


def _check(driver: Driver, renderer: Camera | None, latency_ticks: int, keep_images_every: int) -> None:
    if renderer is None and (driver.needs_image or keep_images_every):
        why = f"driver {driver.name} needs pictures" if driver.needs_image else "pictures are to be kept"
        raise ConfigError(f"drive: got no renderer, expected one: {why}")
    if driver.plan_every_ticks < 1 or (driver.needs_image and driver.plan_every_ticks % IMAGE_EVERY_TICKS):
        raise ConfigError(f"driver {driver.name}: got plan_every_ticks {driver.plan_every_ticks}, expected a positive multiple of {IMAGE_EVERY_TICKS}")
    if latency_ticks < 0 or keep_images_every < 0 or keep_images_every % IMAGE_EVERY_TICKS:
        got = f"latency {latency_ticks}, pictures every {keep_images_every} ticks"
        raise ConfigError(f"drive: got {got}, expected 0 or more, and a multiple of {IMAGE_EVERY_TICKS}")


def _picture(renderer: Camera | None, camera: CameraSpec, state: WorldState, image_filter: ImageFilter | None) -> U8:
    assert renderer is not None  # checked before the first tick
    pictures = renderer.render(state)
    if camera.name not in pictures:
        raise ConfigError(f"drive: got a renderer of {', '.join(sorted(pictures))}, expected camera {camera.name!r} among them")
    image = pictures[camera.name]
    return image if image_filter is None else image_filter(state.tick, image)


def _view(sim: Simulation, pose: EgoPose, image: U8 | None, camera: CameraSpec, command: Command) -> View:
    return View(stamp_ns=pose.stamp_ns, pose=pose, image=image, camera=camera, command=command, cruise_mps=sim.scenario.cruise_mps, world=sim)


def _control(
    path: DensePath | None, pose: EgoPose, previous: DriveCommand | None, config: FollowConfig, actuation: CarlaActuation
) -> tuple[Control, DriveCommand | None]:
    """The control of one tick: rolling on before the first path, braking where a path can no longer be followed."""
    if path is None:
        return Control(), None
    command = follow(path, pose, previous, config)
    if isinstance(command, Waiting):
        return Control(brake=WAITING_BRAKE), None
    throttle, brake, steer = carla_control(command, float(pose.linear_mps[0]), actuation)
    return Control(throttle=throttle, brake=brake, steer=steer), command
