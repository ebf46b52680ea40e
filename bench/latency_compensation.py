"""How exact is the latency-compensated path? Numbers and plot of docs/results/latency_compensation.md.

    python bench/latency_compensation.py            # prints the tables, a minute on one core
    python bench/latency_compensation.py --write    # also renews the document's tables and its plot (matplotlib)

A synthetic vehicle turns and accelerates along a known trajectory. Its true future rear-axle positions are the plan; the plan comes 300 ms late.
What is measured is the distance from each row of the path, as published at that moment, to where the vehicle truly is at that row's time.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vavam_ros.core import geometry
from vavam_ros.core.contracts import F64, NS_PER_S, Command, DensePath, EgoPose, OdometrySample, Plan, Selection, Waiting
from vavam_ros.core.history.odometry import OdometryConfig, OdometryHistory

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "results" / "latency_compensation.md"
START_NS = 1_700_000_000 * NS_PER_S
DT_S, HORIZON, LATE_S = 0.5, 6, 0.3
TRIALS = 200


class Drive:
    """Rear axle of a vehicle at 12 m/s, accelerating by ±2 m/s² and turning at up to 0.3 rad/s, known at any time in [0, 40] s."""

    def __init__(self, accel_mps2: float = 2.0, yaw_rate_radps: float = 0.3) -> None:
        self._accel, self._rate = accel_mps2, yaw_rate_radps
        self._wa, self._wr = 2 * np.pi / 7.0, 2 * np.pi / 5.0
        self._step = 1e-3
        t = np.arange(0.0, 40.0, self._step)
        node = np.sqrt(0.6)  # three-point Gauss rule on each millisecond
        dx, dy = np.zeros_like(t), np.zeros_like(t)
        for x, w in ((-node, 5 / 18), (0.0, 8 / 18), (node, 5 / 18)):
            at = t + self._step * 0.5 * (1.0 + x)
            dx += w * self._step * self.speed(at) * np.cos(self.yaw(at))
            dy += w * self._step * self.speed(at) * np.sin(self.yaw(at))
        self._knots = np.stack([np.concatenate([[0.0], np.cumsum(dx)]), np.concatenate([[0.0], np.cumsum(dy)])], axis=1)

    def speed(self, t: F64) -> F64:
        """m/s, (N,)."""
        return 12.0 + self._accel / self._wa * (1.0 - np.cos(self._wa * t))

    def yaw_rate(self, t: F64) -> F64:
        """rad/s, (N,)."""
        return self._rate * np.sin(self._wr * t)

    def yaw(self, t: F64) -> F64:
        """rad, (N,)."""
        return self._rate / self._wr * (1.0 - np.cos(self._wr * t))

    def xy(self, t: F64) -> F64:
        """m, (N, 2)."""
        i = np.floor(t / self._step).astype(np.int64)
        rest = t - i * self._step
        middle = t - 0.5 * rest
        direction = np.stack([np.cos(self.yaw(middle)), np.sin(self.yaw(middle))], axis=1)
        return np.asarray(self._knots[i] + (self.speed(middle) * rest)[:, None] * direction, dtype=np.float64)

    def T_odom_ego(self, t: float) -> F64:
        """(4, 4) pose of the rear axle."""
        at = np.array([t])
        x, y = self.xy(at)[0]
        return geometry.planar_T(float(x), float(y), float(self.yaw(at)[0]))

    def pose(self, t: float) -> EgoPose:
        """Pose and twist of the rear axle."""
        at = np.array([t])
        linear, angular = np.array([self.speed(at)[0], 0.0, 0.0]), np.array([0.0, 0.0, self.yaw_rate(at)[0]])
        return EgoPose(stamp_ns=stamp(t), odom_frame_id="odom", T_odom_ego=self.T_odom_ego(t), linear_mps=linear, angular_radps=angular)

    def odometry(self, t: float, rear_axle_x_m: float = 0.0) -> OdometrySample:
        """The message about t of a base_link in which the rear axle lies at `rear_axle_x_m`."""
        ego = self.pose(t)
        T_ego_base = geometry.planar_T(-rear_axle_x_m, 0.0, 0.0)
        linear = ego.linear_mps + np.array([0.0, -rear_axle_x_m * ego.angular_radps[2], 0.0])
        return OdometrySample(
            stamp_ns=ego.stamp_ns,
            odom_frame_id="odom",
            base_frame_id="base_link",
            T_odom_base=ego.T_odom_ego @ T_ego_base,
            linear_mps=linear,
            angular_radps=ego.angular_radps,
        )

    def plan(self, t: float, pose: EgoPose) -> Plan:
        """The true future of the rear axle as a plan of the picture taken at t, with the pose that the odometry says it had."""
        future = self.xy(t + DT_S * np.arange(1.0, HORIZON + 1))
        xy = geometry.transform_points(geometry.invert(self.T_odom_ego(t)), future)[:, :2].astype(np.float32)
        return Plan(
            stamp_ns=pose.stamp_ns,
            epoch=0,
            model_id="truth",
            command=Command.STRAIGHT,
            xy_ego_m=xy[None],
            dt_s=DT_S,
            selection=Selection(index=0, reason="first", spread_m=np.zeros(3, dtype=np.float32)),
            violations=(),
            context_stamps_ns=(pose.stamp_ns,),
            pose=pose,
            canonical=True,
        )


def stamp(t: float) -> int:
    """Seconds of the drive → nanoseconds."""
    return START_NS + round(t * NS_PER_S)


def position_error(drive: Drive, path: DensePath) -> F64:
    """(N,) distance of each row of a path in odom to the true position at its time."""
    return np.asarray(np.linalg.norm(path.xyz_m[:, :2] - drive.xy((path.stamps_ns - START_NS) / NS_PER_S), axis=1))


def heading_error(drive: Drive, path: DensePath) -> F64:
    """(N,) rad."""
    difference = path.yaw_rad - drive.yaw((path.stamps_ns - START_NS) / NS_PER_S)
    return np.asarray(np.abs(np.remainder(difference + np.pi, 2 * np.pi) - np.pi))


@dataclass(frozen=True)
class Odometry:
    """How odometry is measured and delivered. Jitter is uniform within ±jitter_s."""

    rate_hz: float
    jitter: str  # "none" · "arrival": delivered late by 0 … 2·jitter · "instants": measured at irregular times · "stamps": the stamps are wrong
    jitter_s: float = 0.02
    rear_axle_x_m: float = 0.0

    def history(self, drive: Drive, until_s: float, rng: np.random.Generator, config: OdometryConfig | None = None) -> OdometryHistory:
        """What a node has received at a time, pushed in order of arrival."""
        measured = np.arange(until_s - 3.0 + rng.uniform(0.0, 1.0 / self.rate_hz), until_s + 0.5, 1.0 / self.rate_hz)
        if self.jitter == "instants":
            measured = measured + rng.uniform(-self.jitter_s, self.jitter_s, len(measured))
        arrival = measured + (rng.uniform(0.0, 2 * self.jitter_s, len(measured)) if self.jitter == "arrival" else 0.0)
        history = OdometryHistory(config, self.rear_axle_x_m)
        for t in measured[np.argsort(arrival, kind="stable")][: int((arrival <= until_s).sum())]:
            sample = drive.odometry(float(t), self.rear_axle_x_m)
            if self.jitter == "stamps":
                sample = replace(sample, stamp_ns=sample.stamp_ns + round(rng.uniform(-self.jitter_s, self.jitter_s) * NS_PER_S))
            history.push(sample)
        return history


@dataclass(frozen=True)
class Errors:
    """Largest errors over all trials: of the path in odom, without any odometry error, and of what the node publishes in base_link."""

    path_m: float
    ideal_m: float
    excess_m: float
    heading_rad: float
    base_link_m: float
    curve_m: F64  # (seconds at 0.1 s,) largest error by time after the image stamp


def measure(odometry: Odometry, trials: int = TRIALS, late_s: float = LATE_S, config: OdometryConfig | None = None, drive: Drive | None = None) -> Errors:
    """Place `trials` plans at random times of the drive, each `late_s` after its picture. Seeded."""
    drive = drive if drive is not None else Drive()
    rng = np.random.default_rng(7)
    worst = np.zeros(5)
    curve = np.zeros(31)
    for _ in range(trials):
        t = float(rng.uniform(4.0, 34.0))
        now_ns = stamp(t + late_s)
        history = odometry.history(drive, t + late_s, rng, config)
        pose, base_now = history.pose_at(stamp(t)), history.base_now(now_ns)
        if isinstance(pose, Waiting) or isinstance(base_now, Waiting):
            raise SystemExit(f"no pose: {pose}, {base_now}")
        path, ideal = geometry.place_path(drive.plan(t, pose), now_ns), geometry.place_path(drive.plan(t, drive.pose(t)), now_ns)
        if isinstance(path, Waiting) or isinstance(ideal, Waiting):
            raise SystemExit(f"no path: {path}, {ideal}")
        errors, floor = position_error(drive, path), position_error(drive, ideal)
        # what a follower sees in base_link, carried back by where base_link truly is
        T_odom_base_true = drive.odometry(t + late_s, odometry.rear_axle_x_m).T_odom_base
        local = geometry.to_base_link(path, base_now.T_odom_base, "base_link")
        seen = replace(path, xyz_m=geometry.transform_points(T_odom_base_true, local.xyz_m))
        worst = np.maximum(worst, [errors.max(), floor.max(), (errors - floor).max(), heading_error(drive, path).max(), position_error(drive, seen).max()])
        slot = np.round((path.stamps_ns - stamp(t)) / NS_PER_S / 0.1).astype(np.int64)
        np.maximum.at(curve, slot, errors)
    path_m, ideal_m, excess_m, heading_rad, base_link_m = (float(v) for v in worst)
    return Errors(path_m=path_m, ideal_m=ideal_m, excess_m=excess_m, heading_rad=heading_rad, base_link_m=base_link_m, curve_m=curve)


def boundary_table(drive: Drive, trials: int = TRIALS, noise_m: float = 0.0) -> dict[str, F64]:
    """Interpolation alone, from the true pose: per start condition the largest error of position before 0.5 s and after (m), of
    heading before 0.5 s and after (rad), and of speed before 0.5 s (m/s). `noise_m` disturbs the waypoints, as a network would."""
    kinds: dict[str, Callable[[F64, F64], geometry.Spline]] = {
        "clamped to the twist": lambda points, v: geometry.fit_spline(points, DT_S, v),
        "not-a-knot": lambda points, v: geometry.fit_spline(points, DT_S),
    }
    out = {}
    at = np.arange(0.0, 3.001, 0.02)
    early = at < 0.5
    for name, fit in kinds.items():
        rng = np.random.default_rng(7)
        worst = np.zeros(5)
        for _ in range(trials):
            t = float(rng.uniform(4.0, 34.0))
            T = geometry.invert(drive.T_odom_ego(t))
            points = geometry.transform_points(T, drive.xy(t + DT_S * np.arange(HORIZON + 1.0)))[:, :2]
            points[1:] += rng.normal(0.0, noise_m, (HORIZON, 2))
            xy, velocity = fit(points, np.array([drive.speed(np.array([t]))[0], 0.0]))(at)
            yaw, speed = geometry.headings(velocity)
            off = np.linalg.norm(xy - geometry.transform_points(T, drive.xy(t + at))[:, :2], axis=1)
            turned = np.abs(yaw - (drive.yaw(t + at) - drive.yaw(np.array([t]))))
            faster = np.abs(speed - drive.speed(t + at))
            worst = np.maximum(worst, [off[early].max(), off[~early].max(), turned[early].max(), turned[~early].max(), faster[early].max()])
        out[name] = worst
    return out


RATES = (10.0, 20.0, 100.0)


def tables(trials: int) -> str:
    """All numbers of the document, as markdown."""
    lines = ["| waypoints | start of the spline | position, first 0.5 s | after | heading, first 0.5 s | after | speed, first 0.5 s |", "|" + "---|" * 7]
    for title, noise_m in (("exact", 0.0), ("disturbed by 5 cm (1 sigma)", 0.05)):
        for name, e in boundary_table(Drive(), trials, noise_m).items():
            p0, p1, h0, h1, v0 = e * [1e3, 1e3, 1e3, 1e3, 1.0]
            lines.append(f"| {title} | {name} | {p0:.1f} mm | {p1:.1f} mm | {h0:.1f} mrad | {h1:.1f} mrad | {v0:.2f} m/s |")
    lines += ["", "| odometry | jitter | rear axle in base_link | `~/path`: largest error | noise-free | excess | heading | `~/path_base_link` |"]
    lines += ["|" + "---|" * 8]
    cases = [Odometry(rate, jitter) for rate in RATES for jitter in ("none", "arrival", "instants")]
    cases += [Odometry(rate, "instants", rear_axle_x_m=-1.4) for rate in RATES]
    for case in cases:
        m = measure(case, trials)
        lines.append(
            f"| {case.rate_hz:g} Hz | {case.jitter} | {case.rear_axle_x_m:g} m | {m.path_m * 1e3:.1f} mm | {m.ideal_m * 1e3:.1f} mm | "
            f"{m.excess_m * 1e3:.2f} mm | {m.heading_rad * 1e3:.1f} mrad | {m.base_link_m * 1e2:.1f} cm |"
        )
    lines += ["", "| odometry | jitter | poses between messages | excess |", "|---|---|---|---|"]
    for rate in RATES:
        for kind in ("hermite", "linear"):
            m = measure(Odometry(rate, "instants"), trials, config=OdometryConfig(interpolation=kind))
            lines.append(f"| {rate:g} Hz | instants | {kind} | {m.excess_m * 1e3:.2f} mm |")
    lines += ["", "| odometry | jitter | present pose by | `~/path_base_link` |", "|---|---|---|---|"]
    for rate in RATES:
        for name, trend_s in (("twist and trend", 0.1), ("twist alone", 0.0)):
            m = measure(Odometry(rate, "instants"), trials, config=OdometryConfig(trend_s=trend_s))
            lines.append(f"| {rate:g} Hz | instants | {name} | {m.base_link_m * 1e2:.1f} cm |")
    lines += ["", "| odometry | stamps wrong by up to | excess |", "|---|---|---|"]
    for rate in RATES:
        m = measure(Odometry(rate, "stamps"), trials)
        lines.append(f"| {rate:g} Hz | 20 ms | {m.excess_m * 1e2:.0f} cm |")
    return "\n".join(lines)


def real_drive(file: Path) -> str:
    """On a recorded drive (CSV with t, x, y, yaw and two sources of speed and yaw rate): each message from its two neighbours, and from those before it."""
    rows = list(csv.DictReader(file.open()))
    lines = ["| twist from | pose by | position: mean | largest | heading: mean | largest |", "|" + "---|" * 6]
    for speed, yaw_rate in (("speed", "yaw_rate"), ("can_speed", "gyro_yaw_rate")):
        samples = [
            OdometrySample(
                stamp_ns=stamp(float(r["t"])),
                odom_frame_id="odom",
                base_frame_id="base_link",
                T_odom_base=geometry.planar_T(float(r["x"]), float(r["y"]), float(r["yaw"])),
                linear_mps=np.array([float(r[speed]), 0.0, 0.0]),
                angular_radps=np.array([0.0, 0.0, float(r[yaw_rate])]),
            )
            for r in rows
        ]
        ways = {"Hermite": OdometryConfig(interpolation="hermite"), "linear": OdometryConfig(interpolation="linear")}
        ways |= {"0.1 s on, with trend": OdometryConfig(), "0.1 s on, twist alone": OdometryConfig(trend_s=0.0)}
        for name, config in ways.items():
            history, errors = OdometryHistory(config), []
            for i in range(1, len(samples) - 1):
                history.reset()
                near = (i - 1, i + 1) if "on" not in name else tuple(range(max(0, i - 5), i))
                for k in near:
                    history.push(samples[k])
                found = history.base_at(samples[i].stamp_ns, allow_extrapolation_s=0.2)
                if not isinstance(found, Waiting):
                    error = geometry.invert(samples[i].T_odom_base) @ found.T_odom_base
                    errors.append((float(np.hypot(error[0, 3], error[1, 3])), abs(geometry.yaw_of(error))))
            (p0, h0), (p1, h1) = np.mean(errors, axis=0), np.max(errors, axis=0)
            lines.append(f"| {speed}, {yaw_rate} | {name} | {p0 * 1e2:.2f} cm | {p1 * 1e2:.2f} cm | {h0 * 1e3:.2f} mrad | {h1 * 1e3:.2f} mrad |")
    return "\n".join(lines)


def plot(path: Path) -> None:
    """One plan, raw and compensated, against the truth; and the error by time for each odometry rate."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    drive, t = Drive(), 6.4
    plan = drive.plan(t, drive.pose(t))
    placed = geometry.place_path(plan, stamp(t + LATE_S))
    if isinstance(placed, Waiting):
        raise SystemExit(str(placed))
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), dpi=80)
    truth = drive.xy(np.arange(t, t + 3.0, 0.02))
    left.plot(*truth.T, color="0.7", lw=5, label="where the vehicle goes")
    raw = geometry.transform_points(drive.T_odom_ego(t + LATE_S), np.vstack([np.zeros((1, 2)), plan.selected_xy_ego_m]))
    left.plot(raw[:, 0], raw[:, 1], "C3o--", ms=4, label="plan taken as if it were of now")
    left.plot(placed.xyz_m[:, 0], placed.xyz_m[:, 1], "C0.-", ms=4, label="~/path (first row: now)")
    left.set(xlabel="x in odom, m", ylabel="y in odom, m", title="one plan, 300 ms late", aspect="equal")
    left.legend(fontsize=8)
    for width, rate in zip((6, 3.5, 1.5), RATES, strict=True):
        curve = measure(Odometry(rate, "instants"), 100).curve_m
        right.plot(np.arange(31)[3:] * 0.1, curve[3:] * 1e3, lw=width, label=f"odometry {rate:g} Hz ± 20 ms")
    right.set(xlabel="s after the image stamp", ylabel="largest error, mm", title="~/path against the truth", ylim=(0, None))
    right.grid(alpha=0.3)
    right.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="renew the document's tables and plot")
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--real", type=Path, help="CSV of a recorded drive, 10 Hz: print how its poses interpolate and carry on, and stop")
    options = parser.parse_args()
    if options.real:
        print(real_drive(options.real))
        return
    text = tables(options.trials)
    print(text)
    if options.write:
        head, _, rest = DOCUMENT.read_text().partition("<!-- tables -->\n")
        _, _, tail = rest.partition("<!-- end of tables -->")
        DOCUMENT.write_text(f"{head}<!-- tables -->\n{text}\n<!-- end of tables -->{tail}")
        plot(DOCUMENT.with_suffix(".png"))


if __name__ == "__main__":
    main()
