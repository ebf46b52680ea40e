"""Where the odometry covers the future: how far plans lie from what was driven, beside two baselines that need no model.

All errors are in metres, over waypoints at (i + 1)·dt after the image stamp, against the ego point's recorded positions in the ego frame at that stamp.

Shape letters: N plans · K samples · H waypoints · S horizons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vavam_ros.core.contracts import F64, NS_PER_S, OdometrySample, Plan, Waiting
from vavam_ros.core.geometry import invert
from vavam_ros.core.history.odometry import OdometryConfig, OdometryHistory
from vavam_ros.core.planning.metrics import constant_turn_rate, constant_velocity, displacement_m, min_ade_m, min_fde_m

HORIZONS_S = (1.0, 2.0, 3.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """What was driven after one plan's image: (H, 2), NaN where the odometry does not reach."""

    xy_ego_m: F64

    @property
    def waypoints(self) -> int:
        """How many waypoints from the first on are known."""
        known = np.append(np.isfinite(self.xy_ego_m).all(axis=1), False)
        return int(np.argmin(known))


@dataclass(frozen=True, slots=True, kw_only=True)
class HorizonScore:
    """Means over `count` plans, up to `horizon_s`. `k` samples."""

    horizon_s: float
    count: int
    k: int
    ade_m: float
    fde_m: float
    min_ade_m: float
    min_fde_m: float
    cv_ade_m: float
    cv_fde_m: float
    ctrv_ade_m: float
    ctrv_fde_m: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curves:
    """Distance per waypoint, (N, H), NaN where the truth is not known."""

    t_s: F64  # (H,)
    selected_m: F64
    best_m: F64  # of the sample with the smallest ADE
    cv_m: F64
    ctrv_m: F64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """Scores per horizon, curves, the truth per plan, and how many plans had none."""

    scores: tuple[HorizonScore, ...]
    curves: Curves
    truths: tuple[Truth, ...]
    plans_without_truth: int  # not even to the first waypoint


def future(history: OdometryHistory, plan: Plan) -> Truth:
    """The recorded future of a plan."""
    horizon = plan.xy_ego_m.shape[1]
    xy = np.full((horizon, 2), np.nan)
    T_ego_odom = invert(plan.pose.T_odom_ego)
    for i in range(horizon):
        pose = history.pose_at(plan.stamp_ns + round((i + 1) * plan.dt_s * NS_PER_S))
        if isinstance(pose, Waiting) or pose.odom_frame_id != plan.pose.odom_frame_id:
            break
        xy[i] = (T_ego_odom @ pose.T_odom_ego)[:2, 3]
    return Truth(xy_ego_m=xy)


def evaluate(plans: Sequence[Plan], odometry: Sequence[OdometrySample], config: OdometryConfig, rear_axle_x_m: float = 0.0) -> Evaluation | None:
    """Score all plans; None without any."""
    if not plans:
        return None
    history = OdometryHistory(_unbounded(config), rear_axle_x_m)
    for sample in odometry:
        history.push(sample)
    truths = tuple(future(history, plan) for plan in plans)
    horizon, dt_s, k = plans[0].xy_ego_m.shape[1], plans[0].dt_s, plans[0].xy_ego_m.shape[0]
    selected, best, cv, ctrv = (np.full((len(plans), horizon), np.nan) for _ in range(4))
    rows: dict[float, list[tuple[float, ...]]] = {h: [] for h in HORIZONS_S if h <= horizon * dt_s + 1e-9}
    for i, (plan, truth) in enumerate(zip(plans, truths, strict=True)):
        n = truth.waypoints
        if not n:
            continue
        speed, yaw_rate = float(plan.pose.linear_mps[0]), float(plan.pose.angular_radps[2])
        line, arc = constant_velocity(speed, horizon, dt_s), constant_turn_rate(speed, yaw_rate, horizon, dt_s)
        known = truth.xy_ego_m[:n]
        selected[i, :n] = displacement_m(plan.selected_xy_ego_m[:n], known)
        best[i, :n] = displacement_m(plan.xy_ego_m[min_ade_m(plan.xy_ego_m[:, :n], known)[1], :n], known)
        cv[i, :n], ctrv[i, :n] = displacement_m(line[:n], known), displacement_m(arc[:n], known)
        for h, values in rows.items():
            m = round(h / dt_s)
            if 1 <= m <= n:
                samples, part = plan.xy_ego_m[:, :m], known[:m]
                pairs = (selected[i, :m], cv[i, :m], ctrv[i, :m])
                values.append((*(f(e) for e in pairs for f in (_mean, _last)), min_ade_m(samples, part)[0], min_fde_m(samples, part)[0]))
    scores = tuple(_score(h, k, np.array(values)) for h, values in rows.items() if values)
    curves = Curves(t_s=dt_s * np.arange(1, horizon + 1), selected_m=selected, best_m=best, cv_m=cv, ctrv_m=ctrv)
    return Evaluation(scores=scores, curves=curves, truths=truths, plans_without_truth=sum(not t.waypoints for t in truths))


def _mean(errors_m: F64) -> float:
    return float(errors_m.mean())


def _last(errors_m: F64) -> float:
    return float(errors_m[-1])


def _score(horizon_s: float, k: int, values: F64) -> HorizonScore:
    ade, fde, cv_ade, cv_fde, ctrv_ade, ctrv_fde, min_ade, min_fde = (float(v) for v in values.mean(axis=0))
    return HorizonScore(
        horizon_s=horizon_s,
        count=len(values),
        k=k,
        ade_m=ade,
        fde_m=fde,
        min_ade_m=min_ade,
        min_fde_m=min_fde,
        cv_ade_m=cv_ade,
        cv_fde_m=cv_fde,
        ctrv_ade_m=ctrv_ade,
        ctrv_fde_m=ctrv_fde,
    )


def _unbounded(config: OdometryConfig) -> OdometryConfig:
    """The same limits, but the whole drive is kept."""
    return replace(config, keep_s=1e7)


def table(evaluation: Evaluation) -> str:
    """The scores as text."""
    if not evaluation.scores:
        return "the odometry covers the future of no plan: no errors to state"
    k = evaluation.scores[0].k
    best = f"{f'minADE_{k}':>9} {f'minFDE_{k}':>9}"
    out = [f"{'horizon':>8} {'plans':>6} | {'ADE':>7} {'FDE':>7} {best} | {'CV ADE':>7} {'CV FDE':>7} | {'CTRV ADE':>8} {'CTRV FDE':>8}  [m]"]
    for s in evaluation.scores:
        out.append(
            f"{s.horizon_s:>6.1f} s {s.count:>6} | {s.ade_m:>7.2f} {s.fde_m:>7.2f} {s.min_ade_m:>9.2f} {s.min_fde_m:>9.2f} | "
            f"{s.cv_ade_m:>7.2f} {s.cv_fde_m:>7.2f} | {s.ctrv_ade_m:>8.2f} {s.ctrv_fde_m:>8.2f}"
        )
    return "\n".join(out)
