"""The plots of the report. Each returns PNG bytes; matplotlib's own state is not touched.

Shape letters: N plans · K samples · H waypoints.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vavam_ros.core.contracts import F64, NS_PER_S, Plan
from vavam_ros.core.planning.metrics import constant_turn_rate
from vavam_ros.replay.evaluate import Evaluation
from vavam_ros.replay.overlay import dense

PLAN, SAMPLE, TRUTH, CV, CTRV, GREY = "#e07b00", "#7fb8e6", "#1f9d45", "#8a4fbf", "#c2417c", "#8a9099"
LOG_RATIO = 10.0  # curves further apart than this share a logarithmic axis


def _png(figure: Figure, dpi: int = 110) -> bytes:
    FigureCanvasAgg(figure)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi, metadata={"Software": None})
    return out.getvalue()


def _axes(width: float, height: float, title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.grid(True, color="#e6e8eb", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def drive(plans: Sequence[Plan], drive_xy_m: Sequence[tuple[float, float]], every: int) -> bytes:
    """The recorded drive from above, with every so manieth plan where it starts."""
    figure, axes = _axes(9.0, 4.2, f"The drive from above, and every {_ordinal(every)} plan", "x in odom [m]", "y in odom [m]")
    xy = np.array(drive_xy_m)
    axes.plot(xy[:, 0], xy[:, 1], color=GREY, linewidth=2.5, label="driven", solid_capstyle="round")
    for i, plan in enumerate(plans[::every]):
        points = _in_odom(plan)
        axes.plot(points[:, 0], points[:, 1], color=PLAN, linewidth=1.2, label="selected plan" if i == 0 else None)
        axes.plot(points[0, 0], points[0, 1], ".", color=PLAN, markersize=4)
    axes.plot(xy[0, 0], xy[0, 1], "o", color=GREY, markersize=6, label="start")
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(fontsize=8, frameon=False)
    return _png(figure)


def _in_odom(plan: Plan) -> F64:
    """Selected points (H + 1, 2) in odom, the origin first."""
    xy = np.vstack([np.zeros((1, 2)), plan.selected_xy_ego_m])
    T = plan.pose.T_odom_ego
    placed: F64 = xy @ T[:2, :2].T + T[:2, 3]
    return placed


def _ordinal(n: int) -> str:
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(n % 10 if n % 100 not in (11, 12, 13) else 0, "th")
    return "single" if n == 1 else f"{n}{suffix}"


def one_plan(plan: Plan, truth_xy_m: F64 | None) -> bytes:
    """One plan from above, in the ego frame: forward is up, left is left."""
    figure, axes = _axes(3.2, 3.6, "", "y, left ← [m] → right", "x, forward [m]")
    curves = [dense(np.asarray(s, np.float64), plan.dt_s, None) for s in plan.xy_ego_m]
    for i, curve in enumerate(curves):
        axes.plot(-curve[:, 1], curve[:, 0], color=SAMPLE, linewidth=0.9, label=f"{len(curves)} samples" if i == 0 else None)
    selected = dense(np.asarray(plan.selected_xy_ego_m, np.float64), plan.dt_s, plan.pose.linear_mps)
    axes.plot(-selected[:, 1], selected[:, 0], color=PLAN, linewidth=2.0, label="selected")
    axes.plot(-plan.selected_xy_ego_m[:, 1], plan.selected_xy_ego_m[:, 0], "o", color=PLAN, markersize=3)
    arc = constant_turn_rate(float(plan.pose.linear_mps[0]), float(plan.pose.angular_radps[2]), plan.xy_ego_m.shape[1], plan.dt_s)
    axes.plot(-arc[:, 1], arc[:, 0], "--", color=CTRV, linewidth=1.0, label="const. turn rate")
    if truth_xy_m is not None and len(truth_xy_m):
        axes.plot(-truth_xy_m[:, 1], truth_xy_m[:, 0], "o-", color=TRUTH, linewidth=1.4, markersize=3, label="driven")
    axes.plot(0, 0, "^", color="black", markersize=6)
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(fontsize=6.5, frameon=False, loc="best")
    return _png(figure)


def errors(evaluation: Evaluation) -> bytes:
    """Mean distance from what was driven per waypoint, with the band of the middle 80 % of the plans."""
    c = evaluation.curves
    known = np.isfinite(c.selected_m).any(axis=0)
    t = c.t_s[known]
    figure, axes = _axes(5.4, 3.6, "Distance from what was driven", "time after the image [s]", "mean distance [m]")
    low, high = np.nanpercentile(c.selected_m[:, known], [10, 90], axis=0)
    axes.fill_between(t, low, high, color=PLAN, alpha=0.15, linewidth=0, label="selected, middle 80 %")
    tops, bottoms = [], []
    for values, colour, style, name in (
        (c.selected_m, PLAN, "o-", "selected"),
        (c.best_m, "#2b7bba", "s-", "best of the samples"),
        (c.cv_m, CV, "--", "constant velocity"),
        (c.ctrv_m, CTRV, "--", "constant turn rate"),
    ):
        mean = np.nanmean(values[:, known], axis=0)
        tops.append(mean.max())
        bottoms.append(mean.max())
        axes.plot(t, mean, style, color=colour, markersize=4, linewidth=1.5, label=name)
    if max(tops) > LOG_RATIO * max(min(bottoms), 1e-3):
        axes.set_yscale("log")
        axes.set_ylabel("mean distance [m], logarithmic", fontsize=9)
    else:
        axes.set_ylim(bottom=0)
    axes.legend(fontsize=8, frameon=False)
    return _png(figure)


def over_time(plans: Sequence[Plan], evaluation: Evaluation) -> bytes:
    """Mean error of each plan over the drive; speed and yaw rate below it, on axes of their own."""
    t = np.array([(p.stamp_ns - plans[0].stamp_ns) / NS_PER_S for p in plans])
    figure = Figure(figsize=(9.0, 4.6), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(2, 1, 1))
    full = np.isfinite(evaluation.curves.selected_m).all(axis=1)
    for values, colour, name in ((evaluation.curves.selected_m, PLAN, "selected"), (evaluation.curves.ctrv_m, CTRV, "constant turn rate")):
        top.plot(t[full], values[full].mean(axis=1), ".-", color=colour, linewidth=1.0, markersize=3, label=name)
    top.set_ylabel("ADE [m]", fontsize=9)
    top.legend(fontsize=8, frameon=False)
    middle.plot(t, [float(p.pose.linear_mps[0]) for p in plans], color=GREY)
    middle.set_ylabel("speed [m/s]", fontsize=9)
    bottom.plot(t, np.degrees([float(p.pose.angular_radps[2]) for p in plans]), color=GREY)
    bottom.set_ylabel("yaw rate [°/s]", fontsize=9)
    bottom.set_xlabel("time since the first plan [s]", fontsize=9)
    top.set_title("Error of each plan over the drive (plans with a full recorded future)", fontsize=10, loc="left")
    for axes in (top, middle, bottom):
        axes.grid(True, color="#e6e8eb", linewidth=0.7)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    return _png(figure)


def timing(stage_ms: Mapping[str, Sequence[float]]) -> bytes:
    """Run time per stage: middle half as a box, 5th to 95th percentile as whiskers."""
    names = list(stage_ms)
    figure, axes = _axes(5.4, 0.5 + 0.5 * max(len(names), 2), "Run time per stage, this machine", "milliseconds, logarithmic", "")
    axes.boxplot(
        [np.maximum(stage_ms[n], 1e-3) for n in names],
        orientation="horizontal",
        whis=(5, 95),
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": SAMPLE, "edgecolor": "#33658a"},
        medianprops={"color": "black"},
    )
    axes.set_yticks(range(1, len(names) + 1), names, fontsize=8)
    axes.set_xscale("log")
    axes.invert_yaxis()
    return _png(figure)
