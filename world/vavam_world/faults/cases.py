"""What the harness tries, and what has to happen: one row per fault.

Limits follow from the nodes' own (docs/gate.md): a path is lost at `path_limit_s` (as the gate reports it: plan period + p99 latency + margin, at most
the cap), camera_info is late at 0.5 s, a heartbeat at 0.5 s of wall time. To each comes what it takes to see it: one tick of the gate's rate and one of
watching, and where the world is not paced by the fault's own messages the period of what is missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from vavam_world.contracts import TICK_S
from vavam_world.faults.spec import Fault

SEEN_TICKS = 2  # one turn of the gate, one of watching
FROZEN_S = 0.4  # the fifth equal picture at 10 Hz
HEARTBEAT_S = 0.6  # heartbeat_late_s and one heartbeat; wall time, which a paced world's ticks do not outrun
IMAGE_LATE_S = 0.5

Action = Literal["inject", "kill", "hang", "flood", "nan_weights", "bag_loop"]
Reaction = Literal["DEGRADED", "STOP", "ACTIVE", "never READY", "new epoch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row of the table. `reactions`: where the gate may go; `codes`: one of them at least is named by diagnostics; `formula`, `limit_s`: until the gate
    leaves ACTIVE, without the ticks of seeing it, as text and of the gate's path limit."""

    name: str
    what: str
    action: Action
    detection: str
    reactions: tuple[Reaction, ...]
    codes: tuple[str, ...]
    formula: str
    limit_s: Callable[[float], float]
    fault: Fault | None = None
    length_s: float = 3.0
    resumes: str = "by a new enable"
    transports: tuple[str, ...] = field(default=("raw", "compressed"))

    def limit_ticks(self, path_limit_s: float) -> int:
        """Ticks from the fault's first to the gate's reaction."""
        return math.ceil(round(self.limit_s(path_limit_s) / TICK_S, 6)) + SEEN_TICKS


def _injected(
    name: str,
    *,
    detection: str,
    codes: tuple[str, ...],
    formula: str,
    limit_s: Callable[[float], float],
    fault: str = "",
    length_s: float = 3.0,
    reactions: tuple[Reaction, ...] = ("STOP",),
    resumes: str = "by a new enable",
    what: str = "",
    **parameters: float,
) -> Case:
    from vavam_world.faults.spec import KINDS

    spec = Fault(name=fault or name, begin_s=0.0, length_s=length_s, parameters=parameters, seed=1)
    return Case(
        name=name,
        what=what or KINDS[spec.name].what,
        action="inject",
        detection=detection,
        reactions=reactions,
        codes=codes,
        formula=formula,
        limit_s=limit_s,
        fault=spec,
        length_s=length_s,
        resumes=resumes,
    )


_EITHER: tuple[Reaction, ...] = ("DEGRADED", "STOP")
_PATH = "path_limit_s"

CASES: tuple[Case, ...] = (
    _injected(
        "image_freeze",
        detection="tokenizer: fifth equal picture while the vehicle moves; no tokens, the path grows old",
        codes=("image_frozen",),
        reactions=_EITHER,
        formula=f"0.4 s + {_PATH}",
        limit_s=lambda path_s: FROZEN_S + path_s,
    ),
    _injected(
        "image_black",
        detection="as frozen: black pictures are equal ones",
        codes=("image_frozen",),
        reactions=_EITHER,
        formula=f"0.4 s + {_PATH}",
        limit_s=lambda path_s: FROZEN_S + path_s,
    ),
    _injected(
        "image_drop",
        what="half of the pictures is lost at random",
        detection="none needed while plans come in time; else the path's age",
        codes=(),
        reactions=("ACTIVE", "DEGRADED", "STOP"),
        length_s=6.0,
        formula=f"{_PATH}, since the stamp of the newest path",
        limit_s=lambda path_s: path_s,
        resumes="by itself, or by a new enable",
    ),
    _injected(
        "image_loss",
        detection="gate: age of camera_info; tokenizer: no picture",
        codes=("image_stale", "not_paired"),
        reactions=_EITHER,
        formula="image_late_s 0.5 s",
        limit_s=lambda path_s: IMAGE_LATE_S,
    ),
    _injected(
        "image_encoding",
        detection="tokenizer refuses each picture; no tokens, the path grows old",
        codes=("bad_image",),
        reactions=_EITHER,
        formula=_PATH,
        limit_s=lambda path_s: path_s,
    ),
    _injected(
        "image_truncated",
        detection="tokenizer refuses each picture; no tokens, the path grows old",
        codes=("bad_image",),
        reactions=_EITHER,
        formula=_PATH,
        limit_s=lambda path_s: path_s,
    ),
    _injected(
        "camera_info_change",
        detection="tokenizer: the camera is another one, and shows too little of the model's view",
        codes=("camera_unusable", "camera_changed"),
        reactions=_EITHER,
        formula=_PATH,
        limit_s=lambda path_s: path_s,
    ),
    _injected(
        "odometry_nan_short",
        fault="odometry_nan",
        what="NaN in pose and twist for 0.2 s",
        detection="gate, follower and model nodes refuse the message",
        codes=("bad_odometry",),
        reactions=("DEGRADED",),
        length_s=0.2,
        formula="at once",
        limit_s=lambda path_s: 0.0,
        resumes="by itself",
    ),
    _injected(
        "odometry_nan",
        what="NaN in pose and twist for 2 s",
        detection="gate, follower and model nodes refuse the message",
        codes=("bad_odometry",),
        reactions=_EITHER,
        length_s=2.0,
        formula="at once",
        limit_s=lambda path_s: 0.0,
    ),
    _injected(
        "image_delay",
        what="pictures come 0.6 s late, ± 0.2 s at random",
        detection="gate: the path's age, which counts from the picture",
        codes=("gate_stopped", "gate_degraded"),
        reactions=_EITHER,
        length_s=4.0,
        formula=_PATH,
        limit_s=lambda path_s: path_s,
    ),
    Case(
        name="planner_hang",
        what="the process that plans is stopped (SIGSTOP), then goes on",
        action="hang",
        detection="gate: heartbeat",
        reactions=_EITHER,
        codes=("gate_stopped", "gate_degraded"),
        formula="heartbeat_late_s 0.5 s + its period 0.1 s",
        limit_s=lambda path_s: HEARTBEAT_S,
    ),
    Case(
        name="planner_kill",
        what="the process that plans is killed (SIGKILL), then started again",
        action="kill",
        detection="gate: heartbeat",
        reactions=_EITHER,
        codes=("gate_stopped", "gate_degraded"),
        formula="heartbeat_late_s 0.5 s + its period 0.1 s",
        limit_s=lambda path_s: HEARTBEAT_S,
    ),
    Case(
        name="follower_flood",
        what="full throttle at 200 Hz in the follower's place while the planner is dead",
        action="flood",
        detection="gate: rate of commands, heartbeat",
        reactions=_EITHER,
        codes=("gate_flood",),
        formula="heartbeat_late_s 0.5 s + its period 0.1 s",
        limit_s=lambda path_s: HEARTBEAT_S,
    ),
    _injected(
        "odometry_jump",
        what="the pose jumps by 20 m",
        detection="gate, follower and model nodes: pose against twist",
        codes=("odometry_reset",),
        formula="at once",
        limit_s=lambda path_s: 0.0,
        metres=20.0,
    ),
    _injected(
        "clock_jump",
        what="clock and all stamps jump back by 5 s",
        detection="every node: time that runs backwards",
        codes=("time_jumped",),
        formula="at once",
        limit_s=lambda path_s: 0.0,
        seconds=5.0,
    ),
    Case(
        name="nan_weights",
        what="NaN in the model's weights",
        action="nan_weights",
        detection="planner: weights are checked when they are read",
        reactions=("never READY",),
        codes=("configure_failed",),
        formula="never armed",
        limit_s=lambda path_s: 0.0,
        resumes="with a sound model",
    ),
    Case(
        name="bag_loop",
        what="a bag begins again at its end",
        action="bag_loop",
        detection="every node: time that runs backwards",
        reactions=("new epoch",),
        codes=("time_jumped",),
        formula="first tokens of the second round: another epoch",
        limit_s=lambda path_s: 0.0,
        resumes="by itself",
        transports=("compressed",),
    ),
)
BY_NAME: dict[str, Case] = {case.name: case for case in CASES}
