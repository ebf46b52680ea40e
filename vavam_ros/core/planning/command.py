"""From a route, a message or a setting to the high-level command, by a named rule, with the reason in words.

Rules (all look at the lateral position y, left positive, in the present ego frame):

``reference``  where the vehicle will be in 3 s: |y| > 2 m turns. It is how the reference labels its training data (there from the recorded future; here the
               place on the route at the present speed · 3 s).
``neuroncap``  the same at max(speed, 2 m/s) · 3 s along the route (neuro-ncap, FOLLOW_REFERENCE), so that a standing vehicle looks 6 m ahead.
``lookahead``  first route point at 20 m or further away: |y| > 3 m turns (the VaVAM driver of NVlabs/alpasim).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from vavam_ros.core.contracts import F64, NS_PER_S, Command, ConfigError, EgoPose, FrameError, InputError
from vavam_ros.core.geometry import arc_lengths, invert, project_on_segments, transform_points


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRule:
    """Where along the route to look, and from which lateral offset on it is a turn."""

    lateral_m: float  # |y| beyond this is LEFT or RIGHT
    horizon_s: float = 0.0  # look at speed · horizon_s along the route …
    min_speed_mps: float = 0.0  # … with the speed taken as no less than this
    distance_m: float = 0.0  # or, where positive: look at the first place this far away (straight line)
    max_route_offset_m: float = 10.0  # further from the route than this: it is not followed

    def __post_init__(self) -> None:
        if not (self.lateral_m > 0.0 and self.max_route_offset_m > 0.0 and (self.horizon_s > 0.0) != (self.distance_m > 0.0)):
            raise ConfigError(f"command rule: expected lateral_m, max_route_offset_m and either horizon_s or distance_m positive, got {self}")


RULES: dict[str, CommandRule] = {
    "reference": CommandRule(lateral_m=2.0, horizon_s=3.0),
    "neuroncap": CommandRule(lateral_m=2.0, horizon_s=3.0, min_speed_mps=2.0),
    "lookahead": CommandRule(lateral_m=3.0, distance_m=20.0),
}


def command_from_lateral(y_m: float, lateral_m: float) -> Command:
    """y > limit → LEFT, y < −limit → RIGHT, else STRAIGHT: the reference's label, with y the future position 3 s ahead."""
    return Command.LEFT if y_m > lateral_m else Command.RIGHT if y_m < -lateral_m else Command.STRAIGHT


def command_from_route(xy_ego_m: F64, rule: str | CommandRule, speed_mps: float, **thresholds: float) -> Command:
    """Command for a route (N, 2) given in the ego frame. `thresholds` replace fields of the named rule. Otherwise as `explain_route`."""
    return explain_route(xy_ego_m, named_rule(rule, **thresholds), speed_mps)[0]


def named_rule(rule: str | CommandRule, **thresholds: float) -> CommandRule:
    """A rule by name, with some fields replaced. Raises ConfigError on an unknown name or field."""
    if isinstance(rule, str):
        if rule not in RULES:
            raise ConfigError(f"command rule: got {rule!r}, expected one of {sorted(RULES)}")
        rule = RULES[rule]
    unknown = set(thresholds) - set(CommandRule.__dataclass_fields__)
    if unknown:
        raise ConfigError(f"command rule: unknown thresholds {sorted(unknown)}, expected some of {sorted(CommandRule.__dataclass_fields__)}")
    return replace(rule, **thresholds)


def explain_route(xy_ego_m: F64, rule: CommandRule, speed_mps: float) -> tuple[Command, str]:
    """Command and the reason for it.

    The vehicle is put on the nearest segment; where several are about as near (within 1 m: crossings, laps) on the one that runs
    most nearly its way, the first of equals. STRAIGHT, with the reason, for: fewer than two distinct points; a route further away than
    `max_route_offset_m`; one that ends behind the vehicle. A route that ends before the look-ahead counts with its last point. A closed
    loop (ends within 2 m of its start) goes round. Where the look-ahead is a time, y counts no further than the vehicle drives in it: one
    that stands beside its route turns nowhere.
    Raises InputError on values that are not finite or not (N, 2)."""
    xy = np.asarray(xy_ego_m, dtype=np.float64)
    if xy.ndim != 2 or xy.shape[1] != 2 or not np.isfinite(xy).all():
        raise InputError(f"route: got shape {xy.shape}{'' if xy.ndim != 2 else ' with values that are not finite'}, expected finite (N, 2)")
    if len(xy):
        moved = np.abs(xy[1:] - xy[:-1]) > 1e-6
        xy = xy[np.concatenate([[True], moved[:, 0] | moved[:, 1]])]
    if len(xy) < 2:
        return Command.STRAIGHT, f"route has {len(xy)} distinct points"
    total = arc_lengths(xy)
    if total[-1] > 20.0 and bool(np.linalg.norm(xy[-1] - xy[0]) < 2.0):  # closed
        xy = np.vstack([xy, xy[1:]]) if np.allclose(xy[0], xy[-1]) else np.vstack([xy, xy])
        total = arc_lengths(xy)
    arc, distance, direction = project_on_segments(xy, np.zeros(2))
    near = np.flatnonzero(distance <= distance.min() + 1.0)
    offset_m = float(distance.min())
    if offset_m > rule.max_route_offset_m:
        return Command.STRAIGHT, f"route is {offset_m:.1f} m away (limit {rule.max_route_offset_m:g} m)"
    # Neighbouring segments of one pass differ little in direction: the nearest of those that run about as well decides.
    along = near[direction[near, 0] > direction[near, 0].max() - 0.3]
    best = int(along[np.argmin(np.round(distance[along], 6))])
    here = float(arc[best])
    if total[-1] - here < 1e-3:
        return Command.STRAIGHT, "route ends behind the vehicle"
    if rule.distance_m > 0.0:
        y = _first_beyond_y(xy, total, here, rule.distance_m)
        where = f"{rule.distance_m:g} m away"
    else:
        ahead_m = max(speed_mps, rule.min_speed_mps, 0.0) * rule.horizon_s
        y = float(np.clip(np.interp(here + ahead_m, total, xy[:, 1]), -ahead_m, ahead_m))
        where = f"{ahead_m:.1f} m along it"
    return command_from_lateral(y, rule.lateral_m), f"route at y = {y:+.1f} m, {where} (limit {rule.lateral_m:g} m)"


def _first_beyond_y(xy: F64, total: F64, here: float, distance_m: float) -> float:
    """y of the first place of the route after arc length `here` that is `distance_m` from the vehicle, to 0.5 m; its end if none is."""
    s = np.append(np.arange(here, total[-1], 0.5), total[-1])
    points = np.stack([np.interp(s, total, xy[:, i]) for i in (0, 1)], axis=1)
    far = np.flatnonzero(np.linalg.norm(points, axis=1) >= distance_m)
    return float(points[far[0] if len(far) else -1, 1])


class CommandSource:
    """The command at a time, from the source that was chosen: a topic, a route, or a fixed one.

    A topic's command older than `timeout_s` counts as STRAIGHT, as does none at all; 0 never times out. A route has no age of its own (it is
    published once and latched) unless `route_timeout_s` gives one."""

    def __init__(
        self,
        mode: Literal["topic", "route", "fixed"] = "topic",
        fixed: Command = Command.STRAIGHT,
        timeout_s: float = 2.0,
        rule: str | CommandRule = "reference",
        *,
        route_timeout_s: float = 0.0,
        **thresholds: float,
    ) -> None:
        if mode not in ("topic", "route", "fixed"):
            raise ConfigError(f"command mode: got {mode!r}, expected 'topic', 'route' or 'fixed'")
        if not (timeout_s >= 0.0 and route_timeout_s >= 0.0):
            raise ConfigError(f"command timeout: got {timeout_s} s and {route_timeout_s} s, expected 0 (never) or more")
        self.mode, self.fixed = mode, Command(fixed)
        self.rule = named_rule(rule, **thresholds)
        self._timeout_s, self._route_timeout_s = timeout_s, route_timeout_s
        self.reset()

    def reset(self) -> None:
        """Forget the last message and route."""
        self._command: tuple[Command, int] | None = None
        self._route: tuple[F64, str, int | None] | None = None

    def set_command(self, command: Command, stamp_ns: int) -> None:
        """Take in a command message."""
        self._command = (Command(command), stamp_ns)

    def set_route(self, xy_m: F64, frame_id: str, stamp_ns: int | None = None) -> None:
        """Take in a route (N, 2), given in `frame_id`. An empty one clears it. Raises InputError on values that are not finite."""
        xy = np.array(xy_m, dtype=np.float64).reshape(-1, 2) if np.size(xy_m) == 0 else np.array(xy_m, dtype=np.float64)
        if xy.ndim != 2 or xy.shape[1] != 2 or not np.isfinite(xy).all():
            raise InputError(f"route: got shape {xy.shape}, expected (N, 2), all finite")
        self._route = (xy, frame_id, stamp_ns) if len(xy) else None

    @property
    def route_frame_id(self) -> str | None:
        """Frame of the route held: what `at` needs a transform from, unless it is the odometry's."""
        return self._route[1] if self._route else None

    def at(self, now_ns: int, pose: EgoPose, *, T_odom_route: F64 | None = None) -> tuple[Command, str]:
        """Command at a time and why. `T_odom_route` takes the route's frame to the pose's odometry frame; it is needed
        where the two differ (FrameError without it) and should be looked up afresh, since localisation moves it."""
        if self.mode == "fixed":
            return self.fixed, "fixed"
        if self.mode == "topic":
            return self._from_topic(now_ns)
        if self._route is None:
            return Command.STRAIGHT, "no route received"
        xy, frame_id, stamp_ns = self._route
        if self._route_timeout_s and stamp_ns is not None and now_ns - stamp_ns > self._route_timeout_s * NS_PER_S:
            return Command.STRAIGHT, f"route timed out: {(now_ns - stamp_ns) / NS_PER_S:.1f} s old (limit {self._route_timeout_s:g} s)"
        T_ego_route = invert(pose.T_odom_ego)
        if T_odom_route is not None:
            T_ego_route = T_ego_route @ T_odom_route
        elif frame_id != pose.odom_frame_id:
            raise FrameError(f"route: got frame {frame_id!r}, expected {pose.odom_frame_id!r} or a transform between them; is it on /tf?")
        return explain_route(transform_points(T_ego_route, xy)[:, :2], self.rule, float(pose.linear_mps[0]))

    def _from_topic(self, now_ns: int) -> tuple[Command, str]:
        if self._command is None:
            return Command.STRAIGHT, "no command received"
        command, stamp_ns = self._command
        age_s = (now_ns - stamp_ns) / NS_PER_S
        if self._timeout_s and age_s > self._timeout_s:
            return Command.STRAIGHT, f"command timed out: {command.name} is {age_s:.1f} s old (limit {self._timeout_s:g} s)"
        return command, "topic"
