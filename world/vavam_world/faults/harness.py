"""Hurts a running system and watches: one system for many faults, each followed by recovery where the gate's state machine allows it.

Lock-step with `on_timeout: continue` and a short `answer_timeout_s` (a dead planner must not end the world), paced at real time at most (heartbeats count wall
time). Ticks are those of the world. Between two faults the expert takes the vehicle back to its lane.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from vavam_ros.bringup_data import Value
from vavam_world.contracts import TICK_NS, TICK_S, MapSpec, RouteSpec, Scenario, TrafficSpec, WorldError
from vavam_world.faults.cases import Case
from vavam_world.faults.observer import Observer
from vavam_world.faults.system import System

ROAD = Scenario(
    name="faults",
    map=MapSpec(kind="straight", lanes=2),
    route=RouteSpec(length_m=560.0),
    traffic=TrafficSpec(parked=0.0),
    cruise_mps=4.0,
    time_limit_s=1e6,
)
WORLD_PARAMETERS: dict[str, Value] = {"on_timeout": "continue", "answer_timeout_s": 1.0, "run_on": True, "real_time_factor": 1.0}
MODEL_PROCESS = {"false": "planner_node", "true": "vavam_node"}
READY_S, ACTIVE_S, RECOVERY_S, STAND_S = 90.0, 30.0, 40.0, 20.0
EXPERT_TICKS, SETTLE_TICKS = 40, 24
MOVING_MPS = 2.0
GATE_DECEL_MPS2, TOLERANCE_MPS2 = 5.0, 1.0  # the hardest stop, and what the vehicle's own dynamics add


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One way of running the nodes."""

    compressed: bool = False
    composed: bool = False

    @property
    def name(self) -> str:
        """As the table has it."""
        return f"{'compressed' if self.compressed else 'raw'}, {1 if self.composed else 2} process{'' if self.composed else 'es'}"


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What one fault has led to. `problems` empty: all as documented."""

    case: str
    compressed: bool
    composed: bool
    reaction: str = ""
    ticks: int | None = None
    limit_ticks: int = 0
    path_limit_s: float = 0.0
    said: str = ""
    codes: list[str] = field(default_factory=list)
    stop_m: float | None = None
    stop_decel_mps2: float | None = None
    resumed: str = ""
    problems: list[str] = field(default_factory=list)
    runs: int = 1  # of which this is the worst

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


class Drive:
    """A system that drives, and what is done to it."""

    def __init__(self, system: System, eyes: Observer, config: Config) -> None:
        self.system, self.eyes, self.config = system, eyes, config
        self.planner = MODEL_PROCESS[str(config.composed).lower()]

    # ── conditions ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def wait(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        """Raises WorldError."""
        if not self.eyes.until(lambda: condition() or self.system.dead(), seconds) or self.system.dead():
            self.system.check()
            last = self.eyes.states[-1].text if self.eyes.states else "the gate has said nothing"
            raise WorldError(f"{self.config.name}: {what} did not come within {seconds:g} s; gate: {last}")

    def ticks(self, count: int) -> None:
        """Let so many ticks pass."""
        end = self.eyes.tick + count
        self.wait(lambda: self.eyes.tick >= end, 10.0 + 2.0 * count * TICK_S, f"{count} ticks")

    def make_active(self, seconds: float = RECOVERY_S) -> str:
        """Wait for ACTIVE; from STOP (and a disarmed state) by enabling. Returns how it came about."""
        how, end, why = "by itself", time.monotonic() + seconds, ""
        while self.eyes.state != "ACTIVE":
            if self.eyes.state in ("STOP", "READY"):
                accepted, why = self.eyes.enable()
                how = "by a new enable" if accepted else how
            self.eyes.until(lambda: self.eyes.state == "ACTIVE", 0.3)
            self.system.check()
            if time.monotonic() > end:
                raise WorldError(f"{self.config.name}: not ACTIVE within {seconds:g} s: {why or self.eyes.states[-1].text}")
        return how

    def settle(self) -> None:
        """Drive on as planned, in the lane."""
        self.eyes.autopilot(True)
        self.ticks(EXPERT_TICKS)
        self.eyes.autopilot(False)
        self.ticks(SETTLE_TICKS)
        self.make_active()
        self.wait(lambda: self.eyes.speed_mps > MOVING_MPS, STAND_S, "a moving vehicle")

    # ── one fault ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def play(self, case: Case) -> Outcome:
        """One case, from ACTIVE to ACTIVE."""
        eyes = self.eyes
        outcome = Outcome(case=case.name, compressed=self.config.compressed, composed=self.config.composed)
        try:
            self.settle()
            outcome.path_limit_s = eyes.path_limit_s
            outcome.limit_ticks = case.limit_ticks(eyes.path_limit_s)
            states, begin = len(eyes.states), self._begin(case)
            limit_s = 2.0 * outcome.limit_ticks * TICK_S + case.length_s + 3.0
            eyes.until(lambda: len(eyes.states) > states or eyes.tick > begin + case.length_s / TICK_S + 20, limit_s)
            self._reaction(case, outcome, states, begin)
            self._during(case, outcome, begin)
            self._undo(case)
            if case.action != "inject" or eyes.state == "STOP":
                self._stop(outcome, begin, states)
            outcome.resumed = self.make_active() if eyes.state != "ACTIVE" else "" if outcome.reaction == "ACTIVE" else "by itself"
            self.wait(lambda: eyes.speed_mps > MOVING_MPS, STAND_S, "a moving vehicle")
            self._codes(case, outcome, begin)
        except WorldError as e:
            outcome.problems.append(str(e))
        return outcome

    def _begin(self, case: Case) -> int:
        eyes = self.eyes
        if case.action == "inject":
            assert case.fault is not None
            count = len(eyes.begun)
            eyes.inject([case.fault])
            self.wait(lambda: len(eyes.begun) > count, 5.0, f"the beginning of {case.fault.name}")
            return eyes.begun[-1][1]
        begin = eyes.tick
        self.system.signal(self.planner, signal.SIGSTOP if case.action == "hang" else signal.SIGKILL)
        if case.action == "flood":
            self.system.run("flood", [sys.executable, "-m", "vavam_world.faults.flood", "--topic", "/vavam/control"])
        return begin

    def _during(self, case: Case, outcome: Outcome, begin: int) -> None:
        """Let the fault last to its end, and the gate come to its decision."""
        eyes, end = self.eyes, begin + round(case.length_s / TICK_S)
        self.wait(lambda: eyes.tick >= end or eyes.state == "STOP", 60.0, "the end of the fault")
        if case.action == "flood":
            self.wait(lambda: eyes.state == "STOP", 10.0, "STOP")
            self.wait(lambda: "gate_flood" in eyes.codes_since(begin), 15.0, "the flood in diagnostics")
            if eyes.publishers() != ("watchdog_node",):
                outcome.problems.append(f"publishers to the vehicle: {', '.join(eyes.publishers())}")

    def _undo(self, case: Case) -> None:
        if case.action == "hang":
            self.system.signal(self.planner, signal.SIGCONT)
        elif case.action == "flood":
            self.system.signal("flood", signal.SIGINT)
        if case.action in ("kill", "flood"):
            self.system.start(self.planner)

    def _reaction(self, case: Case, outcome: Outcome, states: int, begin: int) -> None:
        eyes = self.eyes
        said = eyes.states[states] if len(eyes.states) > states else None
        outcome.reaction = said.text.partition(":")[0] if said else "ACTIVE"
        outcome.said = said.text if said else ""
        if case.name == "image_drop":
            outcome.ticks = self._oldest_path(begin, said.tick if said else eyes.tick)
        elif said:
            outcome.ticks = max(0, said.tick - begin)
        if outcome.reaction not in case.reactions:
            outcome.problems.append(f"reaction {outcome.reaction}, expected {' or '.join(case.reactions)}")
        elif outcome.ticks is not None and outcome.ticks > outcome.limit_ticks:
            outcome.problems.append(f"{outcome.ticks} ticks, limit {outcome.limit_ticks}")

    def _oldest_path(self, begin: int, end: int) -> int:
        """Age of the newest path when it was oldest, ticks."""
        arrivals = [(tick, (ns - 100_000_000_000) // TICK_NS) for tick, ns in self.eyes.paths]
        arrivals = [(tick, at) for tick, at in arrivals if at <= tick]
        ages = [tick - max(at for t, at in arrivals if t < tick) for tick in (*(t for t, _ in arrivals if begin < t <= end), end)]
        return max(ages)

    def _stop(self, outcome: Outcome, begin: int, states: int) -> None:
        """From STOP to standstill: distance, deceleration, and that no throttle gets through."""
        eyes = self.eyes
        self.wait(lambda: eyes.state == "STOP", 10.0, "STOP")
        at = next(s.tick for s in eyes.states[states:] if s.text.startswith("STOP"))
        self.wait(lambda: abs(eyes.speed_mps) < 0.05, STAND_S, "standstill")
        speeds = [(tick, v) for tick, v in eyes.speeds if tick >= at]
        outcome.stop_m = round(sum(v for _, v in speeds) * TICK_S, 2)
        per_tick = [(v0 - v1) / TICK_S for (_, v0), (_, v1) in zip(speeds, speeds[4:])]  # over four ticks: a mean of 0.2 s
        outcome.stop_decel_mps2 = round(max((d / 4.0 for d in per_tick), default=0.0), 2)
        if outcome.stop_decel_mps2 > GATE_DECEL_MPS2 + TOLERANCE_MPS2:
            outcome.problems.append(f"stopped at {outcome.stop_decel_mps2} m/s², limit {GATE_DECEL_MPS2}")
        speed = speeds[0][1]
        bound_m = speed * (1.0 + 0.5) + speed**2 / 4.0  # build-up, delay and rounding; then the comfortable stop's 2 m/s²
        if outcome.stop_m > bound_m:
            outcome.problems.append(f"stopped within {outcome.stop_m} m, limit {bound_m:.1f}")
        if any(throttle > 0.0 for tick, throttle, _ in eyes.controls if tick > at + 1):
            outcome.problems.append("throttle reached the vehicle after STOP")

    def _codes(self, case: Case, outcome: Outcome, begin: int) -> None:
        eyes = self.eyes
        found = eyes.until(lambda: not case.codes or eyes.codes_since(begin) & set(case.codes), 5.0)
        outcome.codes = sorted(eyes.codes_since(begin))
        if not found:
            outcome.problems.append(f"diagnostics named {', '.join(outcome.codes) or 'nothing'}, expected {' or '.join(case.codes)}")


@contextmanager
def driving(
    model: Path, config: Config, folder: Path, domain: int, *, wait_active: bool = True, world: Mapping[str, Value] | None = None
) -> Iterator[Drive]:
    """A whole system in a domain, driving on a straight road. `world`: further parameters of world_node. Raises WorldError where it does not get so far."""
    folder.mkdir(parents=True, exist_ok=True)
    scenario = folder / "scenario.json"
    scenario.write_text(json.dumps(ROAD.to_dict()), encoding="utf-8")
    arguments = {
        "model": str(model),
        "world": str(scenario),
        "composed": str(config.composed).lower(),
        "world_compressed": str(config.compressed).lower(),
        "auto_enable": "true",
        "world_faults": "[]",
        "world_result": str(folder / "result.json"),
        "device": "cpu",
    }
    eyes = Observer(domain)
    try:
        with System("carla", arguments, folder, domain, parameters={"world_node": {**WORLD_PARAMETERS, **(world or {})}}) as system:
            drive = Drive(system, eyes, config)
            if wait_active:
                drive.wait(lambda: eyes.state == "ACTIVE", READY_S, "ACTIVE")
                drive.ticks(60)  # the hand-over from the expert
            yield drive
    finally:
        eyes.close()


def play_all(model: Path, config: Config, cases: Sequence[Case], folder: Path, domain: int, done: Callable[[Outcome], None]) -> list[Outcome]:
    """All cases in one system; a new one after a case that could not be recovered from."""
    left, outcomes = list(cases), []
    while left:
        with driving(model, config, folder / f"from_{left[0].name}", domain) as drive:
            while left:
                outcome = drive.play(left.pop(0))
                outcomes.append(outcome)
                done(outcome)
                if outcome.problems:
                    break
    return outcomes
