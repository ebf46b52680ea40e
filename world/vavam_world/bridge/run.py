"""The loop of world_node: tick, publish, wait, apply.

One tick: the control in force moves the world; then /carla/status, /clock, the vehicle's state, TF and odometry go out; lock-step waits for the control;
on picture ticks camera TF, camera_info and image go out; lock-step waits for the plan. Pausing happens before a tick, so that a single step moves the
world by one tick with the control that came before it, as in CARLA.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, cast

from vavam_ros.core.contracts import NS_PER_S, ConfigError
from vavam_world.bridge import messages
from vavam_world.bridge.autopilot import Autopilot
from vavam_world.bridge.result import Recording, summary
from vavam_world.bridge.run_state import WAIT_SLICE_S, Pace
from vavam_world.bridge.sync import Patience
from vavam_world.bridge.world_node import WorldNode
from vavam_world.contracts import TICK_S, U8, Backend, CameraSpec, Control, WorldError, WorldState
from vavam_world.sim.simulation import Simulation

CONTROL_WAIT_S = 1.0  # the bridge's, with synchronous_mode_wait_for_vehicle_control_command
BEHIND_EVERY_S = 5.0
GATE_WAIT_S, GATE_WAIT_AGAIN_S = 10.0, 1.0  # of wall time, with the clock standing: diagnostics come once a second, and a busy machine takes its time
HAND_OVER_EVERY_TICKS = 10  # where the gate was not armed in that time it is asked again: not at each tick, so that two runs seldom differ by it
PRIME_WAIT_S = 5.0  # what the nodes say to each other while they still find each other may be lost for good, and the expert drives: longer is in vain
REPEAT_AFTER_S = 1.0  # then after 3, 9, 27 s


class Camera(Protocol):
    """What of a renderer the loop needs."""

    def render(self, state: WorldState) -> dict[str, U8]:
        """Picture per camera name."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


RendererFactory: TypeAlias = Callable[[Simulation, Sequence[CameraSpec], Backend], Camera]


def make_renderer(sim: Simulation, cameras: Sequence[CameraSpec], backend: Backend) -> Camera:
    """The world's own renderer."""
    from vavam_world.render.renderer import Renderer  # here: a world without cameras needs no graphics

    return Renderer(sim.road_map, sim.scenario.look, cameras, backend=backend)


class Run:
    """One run of one scenario. Make it and play it in one thread: the renderer belongs to that thread."""

    def __init__(self, node: WorldNode, renderer: RendererFactory = make_renderer) -> None:
        self._node, self._p = node, node.parameters
        self.sim = Simulation(node.scenario, vehicle=node.vehicle)
        cameras = [c.spec for c in node.objects.cameras]
        self._renderer = renderer(self.sim, cameras, cast("Backend", self._p.text("backend"))) if cameras else None
        self._autopilot: Autopilot | None = None
        factor = self._p.number("real_time_factor")
        self._priming = self._p.number("prime_s") > 0.0
        self._hand_over_tick, self._paced = 0, True
        self._pace = Pace(factor if factor >= 0.0 else 0.0 if node.lock_step else 1.0)
        self._patience = Patience(self._p.number("answer_timeout_s"))
        self.recording = Recording(self.sim.state)
        self.finished, self.detail = "interrupted", ""
        self.timeouts = self.repeats = self._disturbed_ticks = 0
        self._waited_s = self._worst_wait_s = 0.0
        self._began = time.monotonic()
        self._next_behind_s = 0.0
        self._heard = 0  # controls counted before the present tick went out

    # ── loop ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def play(self) -> str:
        """Run to the end and return why it ended. Raises WorldError where lock-step cannot go on."""
        try:
            return self._play()
        except WorldError as e:
            self.finished, self.detail = "error", str(e)
            raise

    def _play(self) -> str:
        node = self._node
        self._send_latched()
        if node.lock_step:
            self._await_peers()
        self._began = time.monotonic()
        if self._priming:
            node.prime(True)
        first = True
        while self._may_tick():
            behind = self._pace.wait()
            if behind:
                self._say_behind(behind)
            if not first:
                self._step()
            reason = self.sim.finished()
            self._tick()
            first = False
            if reason is not None and not self._p.flag("run_on"):
                self.finished = reason
                break
        node.await_delivery()
        return self.finished

    def _may_tick(self) -> bool:
        was_running = self._node.run_state.running
        go = self._node.run_state.before_tick(self._node.say_status, self._node.alive)
        if not was_running:
            self._pace.hold()
        return go

    def _step(self) -> None:
        node, state = self._node, self.sim.state
        with node.changed:
            control, source = node.controls.effective(state.stamp_ns, state.ego.speed_mps, self._autopilot_control)
        self.recording.control(control, source)
        self.recording.state(self.sim.step(control))

    def _autopilot_control(self) -> Control:
        return self._autopilot_now.control()

    @property
    def _autopilot_now(self) -> Autopilot:
        if self._autopilot is None:
            self._autopilot = Autopilot(self.sim)
        return self._autopilot

    def _send_latched(self) -> None:
        """Before the first tick, so that who needs the vehicle's geometry to answer odometry has it in time."""
        node, state = self._node, self.sim.state
        node.send("world_info", messages.world_info(node.scenario.map))
        node.send("vehicle_info", messages.vehicle_info(node.vehicle, node.role, node.objects.vehicle_type))
        node.send("waypoints", messages.waypoints(self.sim.route, state.stamp_ns))

    def _tick(self) -> None:
        node, state = self._node, self.sim.state
        if self._priming and state.tick * TICK_S >= self._p.number("prime_s") and state.tick >= self._hand_over_tick:
            if self._gate_ready():
                self._priming = False
                node.prime(False)
            self._hand_over_tick = state.tick + HAND_OVER_EVERY_TICKS
        self._heard = node.begin_tick(state.tick, state.stamp_ns)
        node.outbox.begin(state.tick)
        node.say_status(node.run_state.running)
        node.send("clock", messages.clock(state.stamp_ns))
        self._send_vehicle(state)
        if node.lock_step:
            if self._priming:
                self._pace_prime(state.stamp_ns)
            self._await("control")
            self._note_gate()
        self._send_pictures(state)
        if node.lock_step:
            self._await("plan")
        elif self._p.flag("synchronous_mode_wait_for_vehicle_control_command") and node.synchronous:
            self._await_any_control()

    def _gate_ready(self) -> bool:
        """Whether the driving can be handed over: the gate is armed, and what it passes answers the newest odometry, so that nobody is a tick behind.

        The clock stands meanwhile. If the time is not enough the expert drives on."""
        node = self._node
        if not self._p.text("gate_state_topic"):
            return True
        end = time.monotonic() + (GATE_WAIT_AGAIN_S if self._hand_over_tick else GATE_WAIT_S)
        with node.changed:
            while not (ready := node.extras.gate_passes(node.stamp_ns)) and node.alive() and (left_s := end - time.monotonic()) > 0.0:
                node.changed.wait(min(WAIT_SLICE_S, left_s))
            return ready

    def _pace_prime(self, odometry_ns: int) -> None:
        """While the expert drives no control is owed, but once the chain answers, no tick comes before it has answered the last: a chain that lags
        would be handed a vehicle that is some ticks ahead of it."""
        node, end = self._node, time.monotonic() + PRIME_WAIT_S
        with node.changed:
            while self._paced and node.extras.lags(odometry_ns) and node.alive():
                node.changed.wait(min(WAIT_SLICE_S, max(end - time.monotonic(), 0.0)))
                self._paced = time.monotonic() < end  # in vain once: not again

    def _note_gate(self) -> None:
        """Count the ticks that the model had to drive and the gate did not simply pass. In these, wall time (a heartbeat) may have had its say."""
        if not self._priming and self._p.text("gate_state_topic") and not self._node.extras.gate_active:
            self._disturbed_ticks += 1

    def _send_vehicle(self, state: WorldState) -> None:
        node = self._node
        node.send("vehicle_status", messages.vehicle_status(state, node.vehicle))
        if node.objects.tf:
            node.send("tf", messages.vehicle_tf(state, node.vehicle, node.role))
        if node.objects.speedometer:
            node.send("speedometer", messages.speedometer(state), node.objects.speedometer)
        if node.objects.odometry:
            node.send("odometry", messages.odometry(state, node.vehicle, node.role), node.objects.odometry)

    def _send_pictures(self, state: WorldState) -> None:
        node = self._node
        due = [c for c in node.objects.cameras if state.tick % c.every_ticks == 0]
        if not due or self._renderer is None:
            return
        pictures = self._renderer.render(state)
        for camera in due:
            rgb = pictures[camera.spec.name]
            node.send("tf", messages.camera_tf(camera, node.role, state, node.vehicle, synchronous=node.synchronous))
            node.send("camera_info", messages.camera_info(camera, node.role, state.stamp_ns), camera.id)
            node.send("image", messages.image(rgb, camera, node.role, state.stamp_ns), camera.id)
            if self._p.flag("compressed"):
                node.send("compressed", messages.compressed_image(rgb, camera, node.role, state.stamp_ns), camera.id)

        node.extras.say_expert_path(self._autopilot_now.plan)

    # ── waiting ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _await_peers(self) -> None:
        node, began = self._node, time.monotonic()
        missing = node.missing_peers()
        while missing and time.monotonic() - began < self._p.number("wait_for_peers_s") and node.alive():
            time.sleep(WAIT_SLICE_S)
            missing = node.missing_peers()
        if missing and node.alive():
            text = f"lock-step: after {self._p.number('wait_for_peers_s'):g} s {'; '.join(missing)}"
            if self._p.text("on_timeout") == "fail":
                raise WorldError(f"{text}. Start it, remap it, or do not await it")
            node.get_logger().warning(f"{text}; going on")
        end = time.monotonic() + self._p.number("settle_s")
        while time.monotonic() < end and node.alive():
            time.sleep(WAIT_SLICE_S)

    def _await(self, phase: Literal["control", "plan"]) -> None:
        node = self._node
        with node.changed:
            asked = node.lockstep.outstanding(phase)
            if not asked:
                return
            began = time.monotonic()
            seconds = self._patience.seconds(asked)
            end, repeat_at = began + (min(seconds, PRIME_WAIT_S) if self._priming else seconds), began + REPEAT_AFTER_S
            while node.lockstep.outstanding(phase) and node.alive() and (left_s := end - time.monotonic()) > 0.0:
                node.changed.wait(min(WAIT_SLICE_S, left_s))
                if time.monotonic() >= repeat_at and node.lockstep.outstanding(phase):
                    repeat_at += 2.0 * (repeat_at - began)
                    self.repeats += 1
                    node.repeat()
            missing = node.lockstep.outstanding(phase)
            if missing:
                node.lockstep.give_up(phase)
                if phase == "control":
                    node.take_late()
        waited = time.monotonic() - began
        self._waited_s += waited
        self._worst_wait_s = max(self._worst_wait_s, waited)
        self._patience.note(asked, missing)
        if missing and node.alive():
            self._missed(missing, waited)

    def _missed(self, missing: Sequence[Any], waited: float) -> None:
        node, state = self._node, self.sim.state
        self.timeouts += len(missing)
        topics = node.answer_topics()
        there = ", ".join(f"{topics[w]} has {node.count_publishers(topics[w])} publisher(s)" for w in sorted({w for w, _ in missing}))
        what = self._patience.text(tuple(missing), topics)
        text = f"lock-step, tick {state.tick} ({state.stamp_ns / NS_PER_S:.3f} s): {what} did not come within {waited:.1f} s; {there}"
        if self._p.text("on_timeout") == "fail" and not self._priming:
            raise WorldError(f"{text}. Is it active, enabled, and does it run in simulated time? (on_timeout: continue goes on all the same)")
        node.get_logger().warning(text)

    def _await_any_control(self) -> None:
        node, end = self._node, time.monotonic() + CONTROL_WAIT_S
        with node.changed:
            while node.control_count == self._heard and node.alive() and (left_s := end - time.monotonic()) > 0.0:
                node.changed.wait(min(WAIT_SLICE_S, left_s))
            came = node.control_count != self._heard
        if not came and node.alive():
            self.timeouts += 1
            node.get_logger().warning(f"time-out ({CONTROL_WAIT_S:g} s) while waiting for a vehicle control of {node.role}; going on with the last one")

    def _say_behind(self, seconds: float) -> None:
        now = time.monotonic()
        if now >= self._next_behind_s:
            self._next_behind_s = now + BEHIND_EVERY_S
            self._node.get_logger().warning(
                f"the world is {seconds:.1f} s behind the wall clock and does not catch up: lower real_time_factor, or make smaller pictures"
            )

    # ── end ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def close(self) -> str:
        """Write the result, end the renderer; returns one line."""
        wall_s = time.monotonic() - self._began
        self.recording.plans, self.recording.beside = list(self._node.extras.plans), list(self._node.extras.beside)
        if file := self._p.text("result_file"):
            self._write(Path(file).expanduser(), wall_s)
        if self._renderer is not None:
            self._renderer.close()
        sim_s = self.sim.state.tick * TICK_S
        line = f"{self.finished} after {sim_s:.2f} s simulated, {wall_s:.1f} s on the wall; {self.sim.route_s:.0f} of {self.sim.route.length_m:.0f} m"
        return line + (f"; {self.timeouts} answers did not come" if self.timeouts else "")

    def _write(self, path: Path, wall_s: float) -> None:
        trace = path.with_suffix(".npz")
        numbers = {
            "wall_s": round(wall_s, 3),
            "mode": self._p.text("mode"),
            "timeouts": self.timeouts,
            "repeats": self.repeats,
            "waited_s": round(self._waited_s, 3),
            "worst_wait_s": round(self._worst_wait_s, 3),
            "behind_s": round(self._pace.behind_s, 3),
            "gate_not_active_ticks": self._disturbed_ticks,
            "outgoing": self._node.outbox.counts,
            "trace": trace.name,
        }
        values = summary(self.sim, self.recording, finished=self.finished, detail=self.detail, numbers=numbers)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.recording.save(trace, self._node.scenario, self.finished, self.detail)
            path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        except OSError as e:
            raise ConfigError(f"result_file {path}: {e.strerror or e}; name a file that can be written") from e
