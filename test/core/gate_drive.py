"""What the tests of the gate share: limits, a healthy moment, what can be wrong with it, and a gate with a clock."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vavam_ros.core.contracts import NS_PER_S
from vavam_ros.core.gate import Decision, Gate, GateState, Output
from vavam_ros.core.gate_checks import GateConfig, Health, NodeHealth

C = GateConfig()
NODE = NodeHealth(name="/planner", heartbeat_age_s=0.05, active=True, report_age_s=0.5)
HEALTHY = Health(path_age_s=0.3, path_limit_s=0.9, image_age_s=0.05, odometry_age_s=0.02, speed_mps=8.0, command_age_s=0.03, nodes=(NODE,))
TICK_NS = 50_000_000


def node(**changes: object) -> Health:
    return replace(HEALTHY, nodes=(replace(NODE, **changes),))  # type: ignore[arg-type]


@dataclass
class Drive:
    """A gate and a clock."""

    gate: Gate
    now_ns: int = NS_PER_S

    def step(self, health: Health = HEALTHY, ticks: int = 1, **kwargs: float) -> Decision:
        for _ in range(ticks):
            self.now_ns += TICK_NS
            decision = self.gate.step(self.now_ns, health, **kwargs)
        return decision


def armed(config: GateConfig = C) -> Drive:
    drive = Drive(Gate(config))
    assert drive.step().state is GateState.READY
    assert drive.gate.enable(HEALTHY) == (True, "enabled")
    assert drive.step().state is GateState.ACTIVE
    return drive


NO, PASS, HOLD, STOP = Output.NOTHING, Output.PASS, Output.HOLD, Output.STOP
# what is wrong → output while ACTIVE at once, and what it is called
TABLE = {
    "image late": (replace(HEALTHY, image_age_s=C.image_late_s + 0.01), PASS, "image is 0.51 s old"),
    "image lost": (replace(HEALTHY, image_age_s=C.image_lost_s + 0.01), STOP, "image is 1.51 s old"),
    "image never": (replace(HEALTHY, image_age_s=None), STOP, "no image"),
    "odometry late": (replace(HEALTHY, odometry_age_s=0.21), HOLD, "odometry is 0.21 s old"),
    "odometry lost": (replace(HEALTHY, odometry_age_s=0.51), STOP, "odometry is 0.51 s old"),
    "odometry age nan": (replace(HEALTHY, odometry_age_s=float("nan")), STOP, "odometry is nan"),
    "odometry refused": (replace(HEALTHY, odometry_refused="it is not finite"), HOLD, "odometry refused: it is not finite"),
    "path too old": (replace(HEALTHY, path_age_s=0.91), STOP, "path is 0.91 s old (limit 0.90)"),
    "path never": (replace(HEALTHY, path_age_s=None), STOP, "no path"),
    "command late": (replace(HEALTHY, command_age_s=0.21), HOLD, "command is 0.21 s old"),
    "command lost": (replace(HEALTHY, command_age_s=0.51), STOP, "command is 0.51 s old"),
    "command never": (replace(HEALTHY, command_age_s=None), STOP, "no command"),
    "command refused": (replace(HEALTHY, command_refused="throttle is nan"), HOLD, "throttle is nan"),
    "command missing": (replace(HEALTHY, command_missing=True), HOLD, "clock stands still"),
    "flood": (replace(HEALTHY, flooded_hz=200.0), HOLD, "commands at 200 Hz"),
    "too fast": (replace(HEALTHY, speed_mps=41.0), STOP, "speed 41.0"),
    "speed nan": (replace(HEALTHY, speed_mps=float("nan")), STOP, "speed nan"),
    "heartbeat late": (node(heartbeat_age_s=0.51), HOLD, "heartbeat of /planner is 0.51 s old"),
    "heartbeat lost": (node(heartbeat_age_s=0.81), STOP, "heartbeat of /planner"),
    "heartbeat never": (node(heartbeat_age_s=None), STOP, "no heartbeat of /planner"),
    "hangs": (node(still_for_s=2.1), STOP, "/planner hangs"),
    "not active": (node(active=False), STOP, "/planner is not active"),
    "state unknown": (node(active=None), STOP, "no diagnostics of /planner"),
    "silent diagnostics": (node(report_age_s=4.0), PASS, "diagnostics of /planner is 4.00 s old"),
    "no diagnostics for long": (node(report_age_s=7.0), STOP, "diagnostics of /planner"),
    "model error": (node(model_error="inference failed"), STOP, "inference failed"),
    "error": (node(other_error="bad image", other_error_for_s=1.0), PASS, "bad image"),
    "lasting error": (node(other_error="bad image", other_error_for_s=7.0), STOP, "bad image"),
    "second publisher": (replace(HEALTHY, other_publishers=("/joystick",)), STOP, "also published by /joystick"),
    "event": (replace(HEALTHY, events=("the clock jumped back by 1.0 s",)), STOP, "the clock jumped back"),
    "not started": (Health(not_started="no clock"), STOP, "no clock"),
}
