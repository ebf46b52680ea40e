"""The result of a live run, and its trace. No ROS.

A state follows from the scenario and the controls alone, bit for bit. So the trace file keeps the controls, the ego's states to check them by, and the
plans; `load_trace` drives the simulation through the controls again and has everything back, other road users included.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from vavam_ros.core.contracts import DensePath
from vavam_world.bridge.controls import SOURCES, Source
from vavam_world.contracts import MAP_FRAME, Control, Scenario, Trace, WorldError, WorldState
from vavam_world.sim.simulation import Simulation

Finished: TypeAlias = Literal["route", "collision", "time", "stuck", "off_road", "driver_error"]
EGO_COLUMNS = ("x_m", "y_m", "yaw_rad", "speed_mps", "accel_mps2", "yaw_rate_radps", "steer_rad")
CONTROL_COLUMNS = ("throttle", "brake", "steer", "hand_brake", "reverse")
SCHEMA = 1


class Recording:
    """Grows with the run. Memory: some hundred bytes a tick."""

    def __init__(self, first: WorldState) -> None:
        self._ego: list[tuple[float, ...]] = []
        self._controls: list[tuple[float, ...]] = []
        self._sources: list[int] = []
        self._digest = hashlib.sha256()
        self.plans: list[DensePath] = []
        self.beside: list[DensePath] = []
        self.state(first)

    def state(self, state: WorldState) -> None:
        """A state that was reached."""
        row = tuple(float(getattr(state.ego, c)) for c in EGO_COLUMNS)
        self._ego.append(row)
        self._digest.update(struct.pack(f"<q{len(row)}d", state.stamp_ns, *row))
        for a in state.actors:
            self._digest.update(struct.pack("<q4d", a.id, a.x_m, a.y_m, a.yaw_rad, a.speed_mps))

    def control(self, control: Control, source: Source) -> None:
        """A control that was applied, to the state last noted."""
        row = tuple(float(getattr(control, c)) for c in CONTROL_COLUMNS)
        self._controls.append(row)
        self._sources.append(SOURCES.index(source))
        self._digest.update(struct.pack(f"<{len(row)}d", *row))

    @property
    def digest(self) -> str:
        """SHA-256 of all states (other road users included) and controls: equal for two runs exactly if these are equal bit for bit."""
        return self._digest.hexdigest()

    def save(self, path: Path, scenario: Scenario, finished: str, detail: str) -> None:
        """Write the trace."""
        header = {"schema": SCHEMA, "scenario": scenario.to_dict(), "finished": finished, "detail": detail, "digest": self.digest}
        arrays: dict[str, Any] = {**_packed(self.plans, "plan"), **_packed(self.beside, "beside")}
        np.savez_compressed(
            path,
            header=np.array(json.dumps(header)),
            ego=np.array(self._ego, np.float64),
            controls=np.array(self._controls, np.float64).reshape(-1, len(CONTROL_COLUMNS)),
            sources=np.array(self._sources, np.uint8),
            **arrays,
        )


def load_trace(path: str | Path, driver: str = "live") -> Trace:
    """A live run as a Trace, all states in it. Raises WorldError on a file that is none, and where the simulation does not reach the recorded states."""
    try:
        with np.load(path, allow_pickle=False) as data:
            header: dict[str, Any] = json.loads(str(data["header"]))
            arrays = {name: data[name] for name in data.files if name != "header"}
    except (OSError, ValueError, KeyError) as e:
        raise WorldError(f"trace {path}: {e}; expected what world_node writes beside its result_file") from e
    if header.get("schema") != SCHEMA:
        raise WorldError(f"trace {path}: got schema {header.get('schema')}, expected {SCHEMA}")
    sim = Simulation(Scenario.from_dict(header["scenario"]))
    states = [sim.state]
    for row in arrays["controls"].tolist():
        states.append(sim.step(Control(throttle=row[0], brake=row[1], steer=row[2], hand_brake=bool(row[3]), reverse=bool(row[4]))))
    again = np.array([[float(getattr(s.ego, c)) for c in EGO_COLUMNS] for s in states])
    if again.shape != arrays["ego"].shape or not np.array_equal(again, arrays["ego"]):
        at = next((i for i, (a, b) in enumerate(zip(again, arrays["ego"])) if not np.array_equal(a, b)), min(len(again), len(arrays["ego"])))
        raise WorldError(f"trace {path}: the simulation leaves the recorded states at tick {at}; it was recorded with another version")
    return Trace(
        scenario=sim.scenario,
        driver=driver,
        states=tuple(states),
        plans=tuple(_unpacked(arrays, "plan")),
        beside=tuple(_unpacked(arrays, "beside")),
        collisions=tuple(sim.collisions),
        finished=cast("Finished", header["finished"] if header["finished"] in ("route", "collision", "time", "stuck", "off_road") else "driver_error"),
        detail=header["detail"],
    )


def _packed(plans: Sequence[DensePath], name: str) -> dict[str, npt.NDArray[Any]]:
    rows = [np.column_stack([p.xyz_m, p.yaw_rad, p.speed_mps]) for p in plans]
    return {
        f"{name}_stamps_ns": np.array([p.stamp_ns for p in plans], np.int64),
        f"{name}_lengths": np.array([len(p.stamps_ns) for p in plans], np.int64),
        f"{name}_row_stamps_ns": np.concatenate([p.stamps_ns for p in plans]) if plans else np.zeros(0, np.int64),
        f"{name}_rows": np.concatenate(rows) if rows else np.zeros((0, 5)),
    }


def _unpacked(arrays: Mapping[str, npt.NDArray[Any]], name: str) -> list[DensePath]:
    plans, at = [], 0
    for stamp, count in zip(arrays[f"{name}_stamps_ns"].tolist(), arrays[f"{name}_lengths"].tolist(), strict=True):
        rows, stamps_ns = arrays[f"{name}_rows"][at : at + count], arrays[f"{name}_row_stamps_ns"][at : at + count]
        plans.append(
            DensePath(stamp_ns=stamp, frame_id=MAP_FRAME, stamps_ns=stamps_ns, xyz_m=rows[:, :3], yaw_rad=rows[:, 3], speed_mps=rows[:, 4], age_s=0.0)
        )
        at += count
    return plans


def summary(sim: Simulation, recording: Recording, *, finished: str, detail: str, numbers: dict[str, Any]) -> dict[str, Any]:
    """The JSON result."""
    return {
        "schema": SCHEMA,
        "finished": finished,
        "detail": detail,
        "ticks": sim.state.tick,
        "route_s_m": sim.route_s,
        "route_length_m": sim.route.length_m,
        "off_road": sim.off_road,
        "collisions": [asdict(c) for c in sim.collisions],
        "plans": len(recording.plans),
        "digest": recording.digest,
        "scenario": sim.scenario.to_dict(),
        **numbers,
    }
