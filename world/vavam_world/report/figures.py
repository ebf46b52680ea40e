"""The plots of a report. Each returns PNG bytes; matplotlib's own state is not touched."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as MplPath
from matplotlib.patheffects import withStroke

from vavam_world.contracts import F64, TICK_S, RoadMap, Route, Trace, Vehicle, WorldState
from vavam_world.report import palette
from vavam_world.report.from_above import dashes
from vavam_world.report.palette import hex_of, unit
from vavam_world.report.shapes import actor_box, ego_box
from vavam_world.roads.route_tools import project
from vavam_world.scoring.motion import jerk_mps3, motion_of
from vavam_world.sim.intruder import INTRUDER_ID

REACH_M = 22.0  # shown around the way of the ego
KEY_INSTANTS = 5
APART_M = 4.0  # instants at which the ego is nearer to a later one are not shown


def _png(figure: Figure, dpi: int = 100) -> bytes:
    FigureCanvasAgg(figure)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi, metadata={"Software": None})
    return out.getvalue()


def key_states(trace: Trace) -> list[WorldState]:
    """States at even times from the first to the last, which is where a collision shows; of several on one spot the latest."""
    picks = np.unique(np.linspace(0, len(trace.states) - 1, min(KEY_INSTANTS, len(trace.states))).round().astype(int))
    found: list[WorldState] = []
    for state in (trace.states[i] for i in picks[::-1]):
        if not found or np.hypot(state.ego.x_m - found[-1].ego.x_m, state.ego.y_m - found[-1].ego.y_m) > APART_M:
            found.append(state)
    return found[::-1]


def trace_from_above(trace: Trace, road_map: RoadMap, route: Route, vehicle: Vehicle) -> bytes:
    """Road, markings, route, the ego's way coloured by speed, and everyone at key instants (the later the stronger)."""
    motion = motion_of(trace.states)
    way = np.stack([motion.x_m, motion.y_m], axis=1)
    centre = way.mean(axis=0)
    turn = _flattening(way if np.ptp(way, axis=0).max() > 5.0 else route.xy_m)

    def turned(xy: F64) -> F64:
        return np.asarray((np.asarray(xy, np.float64) - centre) @ turn.T, np.float64)

    view = turned(way)
    low, high = view.min(axis=0) - REACH_M, view.max(axis=0) + REACH_M
    wide, tall = high - low
    figure = Figure(figsize=(11.0, float(np.clip(11.0 * tall / wide, 2.1, 8.0))), layout="constrained")
    axes = figure.add_subplot()
    axes.set_facecolor(unit(palette.GROUND))
    _road(axes, road_map, turned)
    line = turned(route.xy_m)
    axes.plot(line[:, 0], line[:, 1], color=hex_of(palette.ROUTE), linewidth=3.0, alpha=0.7, zorder=3, label="route")
    segments = np.stack([view[:-1], view[1:]], axis=1)
    speeds = LineCollection(list(segments), cmap="plasma", linewidths=2.6, zorder=5)
    speeds.set_array(motion.speed_mps[:-1])
    speeds.set_clim(0.0, max(1.0, 1.2 * trace.scenario.cruise_mps))
    axes.add_collection(speeds)
    figure.colorbar(speeds, ax=axes, label="speed [m/s]", pad=0.01, fraction=0.02)
    states = key_states(trace)
    for i, state in enumerate(states):
        _everyone(axes, state, trace, vehicle, turned, strength=0.3 + 0.7 * (i + 1) / len(states), low=low, high=high)
    for collision in trace.collisions[:1]:
        at = view[int(np.clip(collision.tick - trace.states[0].tick, 0, len(view) - 1))]
        axes.plot(*at, marker="X", markersize=12, color=hex_of(palette.BAD), markeredgecolor="white", zorder=8, label="collision")
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal", xlabel="m", ylabel="m")
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8, loc="upper left", framealpha=0.85)
    return _png(figure)


def _flattening(way: F64) -> F64:
    """(2, 2) rotation that lays the longer extent of a way across the page, its start on the left."""
    _, _, axes = np.linalg.svd(way - way.mean(axis=0), full_matrices=False)
    along = axes[0] if (way[-1] - way[0]) @ axes[0] >= 0.0 else -axes[0]
    return np.array([along, [-along[1], along[0]]])


def _road(axes: Axes, road_map: RoadMap, turned: Callable[[F64], F64]) -> None:
    for polygons, colour, order in ((road_map.sidewalk, palette.SIDEWALK, 0), (road_map.road, palette.ROAD, 1)):
        for rings in polygons:
            closed = [np.vstack([turned(r), turned(r[:1])]) for r in rings]
            codes = np.concatenate([[MplPath.MOVETO, *[MplPath.LINETO] * (len(r) - 2), MplPath.CLOSEPOLY] for r in closed])
            axes.add_patch(PathPatch(MplPath(np.vstack(closed), codes), facecolor=unit(colour), linewidth=0, zorder=order))
    for colour_name, colour in (("white", palette.WHITE), ("yellow", palette.YELLOW)):
        lines = [p for m in road_map.markings if m.colour == colour_name and m.kind in ("solid", "dashed") for p in _pieces(m.kind, m.xy_m)]
        axes.add_collection(LineCollection([turned(p) for p in lines], colors=[unit(colour)], linewidths=0.9, zorder=2))
        areas = [turned(m.xy_m) for m in road_map.markings if m.colour == colour_name and m.kind in ("stop", "crosswalk")]
        if areas:
            axes.add_collection(PolyCollection(areas, facecolors=[unit(colour)], linewidths=0, alpha=0.8, zorder=2))
    houses = [turned(_prop(p.x_m, p.y_m, p.yaw_rad, p.length_m, p.width_m)) for p in road_map.props if p.kind == "house"]
    if houses:
        axes.add_collection(PolyCollection(houses, facecolors=[unit(palette.HOUSE)], linewidths=0, zorder=1))


def _pieces(kind: str, xy_m: F64) -> list[F64]:
    return [xy_m] if kind == "solid" else dashes(xy_m)


def _prop(x: float, y: float, yaw: float, length: float, width: float) -> F64:
    c, s = np.cos(yaw), np.sin(yaw)
    local = 0.5 * np.array([[length, width], [-length, width], [-length, -width], [length, -width]])
    return np.asarray(local @ np.array([[c, s], [-s, c]]) + (x, y))


def _everyone(axes: Axes, state: WorldState, trace: Trace, vehicle: Vehicle, turned: Callable[[F64], F64], *, strength: float, low: F64, high: F64) -> None:
    last = state is trace.states[-1]
    for actor in state.actors:
        if actor.kind == "parked" and not last:
            continue
        corners = turned(actor_box(actor))
        if not bool(np.all(corners.max(axis=0) > low) and np.all(corners.min(axis=0) < high)):
            continue
        intruder = trace.scenario.intruder is not None and actor.id == INTRUDER_ID
        colour = palette.actor_rgb(actor.kind, intruder=intruder)
        axes.add_patch(_polygon(corners, colour, strength if actor.kind != "parked" else 0.8, 4))
        if intruder and (last or actor.speed_mps > 0.0):
            _time(axes, corners, state, trace, colour)
    corners = turned(ego_box(state.ego, vehicle))
    axes.add_patch(_polygon(corners, palette.EGO, strength, 6))
    _time(axes, corners, state, trace, palette.EGO)


def _polygon(corners: F64, colour: palette.Rgb, alpha: float, order: int) -> PathPatch:
    closed = np.vstack([corners, corners[:1]])
    return PathPatch(MplPath(closed), facecolor=(*unit(colour), alpha), edgecolor=unit(colour), linewidth=0.8, zorder=order)


def _time(axes: Axes, corners: F64, state: WorldState, trace: Trace, colour: palette.Rgb) -> None:
    t = (state.tick - trace.states[0].tick) * TICK_S
    x, y = corners.mean(axis=0)
    axes.annotate(
        f"{t:.1f} s",
        (x, y),
        xytext=(0, 12),
        textcoords="offset points",
        fontsize=8,
        ha="center",
        color=hex_of(colour),
        zorder=9,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )


def over_time(trace: Trace, route: Route) -> bytes:
    """Speed against what was wanted, steering, and accelerations with jerk, over the run."""
    motion = motion_of(trace.states)
    figure = Figure(figsize=(11.0, 4.6), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(1.4, 1, 1))
    top.plot(motion.t_s, motion.speed_mps, color=hex_of(palette.EGO), linewidth=1.8, label="speed")
    limit = np.interp(_progress(trace, route), route.s_m, np.minimum(route.speed_limit_mps, trace.scenario.cruise_mps))
    top.plot(motion.t_s, limit, "--", color=hex_of(palette.SOFT), linewidth=1.0, label="cruise speed or limit")
    top.set_ylabel("speed [m/s]", fontsize=9)
    top.set_ylim(min(0.0, float(motion.speed_mps.min())), 1.1 * max(1.0, float(motion.speed_mps.max()), float(limit.max())))
    middle.plot(motion.t_s, np.degrees(motion.steer_rad), color=hex_of(palette.VEHICLE), linewidth=1.4, label="front wheels, + left")
    middle.set_ylabel("steering [°]", fontsize=9)
    middle.set_ylim(min(-3.0, 1.1 * float(np.degrees(motion.steer_rad.min()))), max(3.0, 1.1 * float(np.degrees(motion.steer_rad.max()))))
    bottom.plot(motion.t_s, motion.accel_mps2, color=hex_of(palette.EGO), linewidth=1.2, label="along [m/s²]")
    bottom.plot(motion.t_s, motion.lateral_mps2, color=hex_of(palette.VEHICLE), linewidth=1.2, label="to the left [m/s²]")
    jerk = jerk_mps3(motion.accel_mps2)
    offset = (len(motion.t_s) - len(jerk)) // 2
    bottom.plot(motion.t_s[offset : offset + len(jerk)], jerk, color=hex_of(palette.SOFT), linewidth=0.6, alpha=0.7, label="jerk [m/s³]")
    bottom.set_ylabel("acceleration", fontsize=9)
    bottom.set_xlabel("time [s]", fontsize=9)
    for axes in (top, middle, bottom):
        axes.grid(True, color="#e6e8eb", linewidth=0.7)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.02))
        for collision in trace.collisions[:1]:
            axes.axvline((collision.tick - trace.states[0].tick) * TICK_S, color=hex_of(palette.BAD), linewidth=1.2)
    return _png(figure)


def _progress(trace: Trace, route: Route) -> F64:
    """(T,) arc length on the route."""
    found, hint = [], None
    for state in trace.states:
        hint = project(route, state.ego.x_m, state.ego.y_m, hint)[0]
        found.append(hint)
    return np.array(found)


def scores(rows: Sequence[tuple[str, Sequence[tuple[str, float, float, float]]]], title: str, limit: float) -> bytes:
    """Bars with intervals: (group, [(driver, mean, low, high)]) per group of bars."""
    drivers = list(dict.fromkeys(name for _, bars in rows for name, *_ in bars))
    colours = [hex_of(c) for c in (palette.EGO, palette.VEHICLE, palette.SOFT, palette.PEDESTRIAN, palette.GOOD)]
    figure = Figure(figsize=(11.0, 2.9), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / max(len(drivers), 1)
    for j, driver in enumerate(drivers):
        at = [(i + (j - 0.5 * (len(drivers) - 1)) * width, *values) for i, (_, bars) in enumerate(rows) for name, *values in bars if name == driver]
        x, mean, low, high = np.array(at, np.float64).T
        axes.bar(x, mean, width * 0.92, color=colours[j % len(colours)], label=driver.replace("_", " "))
        axes.errorbar(x, mean, yerr=np.maximum([mean - low, high - mean], 0.0), fmt="none", ecolor="black", elinewidth=1.0, capsize=3)
    axes.set_xticks(range(len(rows)), [name for name, _ in rows], fontsize=9)
    axes.set_xlim(-0.6, max(len(rows), 4) - 0.4)  # one or two groups do not become walls
    axes.set_ylim(0.0, limit)
    axes.set_title(title, fontsize=10, loc="left")
    axes.grid(True, axis="y", color="#e6e8eb", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return _png(figure)
