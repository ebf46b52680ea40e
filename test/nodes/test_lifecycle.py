"""The life of a node, seen from inside its process: transitions, memory, threads, what is computed when."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import rclpy
import torch
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import Path
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from std_msgs.msg import UInt64
from visualization_msgs.msg import MarkerArray

from vavam_ros.core.contracts import DomainError, Plan
from vavam_ros.core.model.number_format import NumberFormat
from vavam_ros.nodes import model_node, planning, vavam_node, visual
from vavam_ros.nodes.vavam_node import VavamNode

pytestmark = pytest.mark.ros


@pytest.mark.smoke
def test_transitions_free_the_memory_and_can_be_repeated(world: Any, host: Any) -> None:
    h = host(VavamNode)
    w, node = world(h.name), h.node
    raw = w.listen(Path, "path_raw")
    assert w.state() == "unconfigured"
    for _ in range(2):
        assert w.transition(Transition.TRANSITION_CONFIGURE)
        model, vq = weakref.ref(node.loaded.model), weakref.ref(node.loaded.tokenizer)
        threads = [part.worker for part in node.parts]
        assert w.transition(Transition.TRANSITION_ACTIVATE)
        before = len(raw)
        w.drive(15.0, until=lambda: len(raw) >= before + 2)  # noqa: B023
        assert len(raw) >= before + 2
        assert w.transition(Transition.TRANSITION_DEACTIVATE)
        assert w.state() == "inactive"
        assert model() is not None, "deactivate keeps the model warm"
        silent = len(raw)
        w.drive(1.0)
        assert len(raw) == silent
        assert w.transition(Transition.TRANSITION_ACTIVATE)
        w.drive(15.0, until=lambda: len(raw) > silent)  # noqa: B023
        assert len(raw) > silent
        assert w.transition(Transition.TRANSITION_DEACTIVATE)
        assert w.transition(Transition.TRANSITION_CLEANUP)
        gc.collect()
        assert model() is None, f"held by {gc.get_referrers(model())}"
        assert vq() is None
        assert not any(worker.alive for worker in threads)
    assert w.state() == "unconfigured"


@pytest.mark.parametrize(("asked", "expected"), [(3, 3), (0, 1)])
def test_inference_threads_use_the_number_of_cpu_threads(host: Any, asked: int, expected: int) -> None:
    h = host(VavamNode, num_threads=asked)
    assert h.node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    found: list[int] = []
    for part in h.node.parts:
        call = part.worker.call(lambda: found.append(torch.get_num_threads()))
        assert call.wait(10.0)
    assert found == [expected, expected]


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"model_dir": "/nowhere"}, "/nowhere"),
        ({"model_dir": ""}, "model_dir is empty"),
        ({"device": "cuda"}, "CUDA devices"),
        ({"device": "gpu"}, "expected auto, cpu, cuda"),
        ({"allow_untrained": False}, "untrained weights"),
        ({"num_samples": 1000}, "parameter num_samples"),
        ({"camera_info_source": "yaml"}, "camera_yaml is empty"),
        ({"camera_yaml": "/nowhere.yaml"}, "/nowhere.yaml"),
    ],
)
def test_what_cannot_be_configured_is_a_failure_with_a_reason_and_the_node_lives(host: Any, params: dict[str, Any], text: str) -> None:
    if params.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    h = host(VavamNode, **params)
    assert h.node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert text in h.says("configure_failed")
    assert h.node._state_machine.current_state[1] == "unconfigured"
    assert all(part.worker is None for part in h.node.parts)


def test_a_failed_configure_can_be_repaired(world: Any, host: Any, model_dir: Any) -> None:
    h = host(VavamNode, model_dir="/nowhere")
    w = world(h.name)
    assert not w.transition(Transition.TRANSITION_CONFIGURE)
    assert w.wait(lambda: w.says("configure_failed") and w.status("model")["level"] == 2)
    assert h.node.set_parameters([Parameter("model_dir", value=str(model_dir))])[0].successful
    assert w.transition(Transition.TRANSITION_CONFIGURE)
    assert w.wait(lambda: not w.says("configure_failed") and w.status("model")["values"].get("state") == "inactive")
    refused = h.node.set_parameters([Parameter("model_dir", value="/other")])[0]
    assert not refused.successful


def test_activation_subscribes_in_the_executor_so_that_no_message_meets_a_half_made_filter(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    h = host(VavamNode)
    threads: list[threading.Thread] = []
    subscribe = h.node.subscribe
    monkeypatch.setattr(h.node, "subscribe", lambda *a, **k: (threads.append(threading.current_thread()), subscribe(*a, **k))[1])
    h.node.autostart()
    end = time.monotonic() + 60.0
    while not h.node.active and time.monotonic() < end:
        time.sleep(0.01)
    assert len(threads) >= 3
    assert set(threads) == {h._thread}


class SlowLoad(VavamNode):
    """Loads when it is let."""

    gate = threading.Event()

    def load(self, device: torch.device, formats: NumberFormat) -> Any:
        assert self.gate.wait(60.0)
        return super().load(device, formats)


def test_heartbeat_and_diagnostics_go_on_while_a_model_loads(world: Any, host: Any) -> None:
    SlowLoad.gate.clear()
    h = host(SlowLoad)
    w = world(h.name)
    beats = w.listen(UInt64, "heartbeat")
    assert w.wait(lambda: len(beats) > 2)
    h.node.autostart()
    assert w.wait(lambda: w.says("loading"))
    assert "reading the model" in w.status("model")["message"]
    before, reports, numbers = len(beats), w.status("model")["count"], beats[-1].data
    assert w.wait(lambda: len(beats) >= before + 20, 10.0), "less than 20 beats in 10 s"
    assert w.wait(lambda: w.status("model")["count"] >= reports + 2, 10.0)
    assert beats[-1].data <= numbers + 1, "the number must stand still while the inference thread is busy"
    assert w.state() == "configuring", "the executor answers meanwhile"
    SlowLoad.gate.set()
    assert w.wait(lambda: w.status("model")["values"].get("state") == "active")
    number = beats[-1].data
    assert w.wait(lambda: beats[-1].data > number + 5), "it grows again"


def test_a_slow_model_skips_plans_and_never_blocks_the_executor(world: Any, host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, planned = threading.Event(), []
    real = planning.Planner.step

    def slow(self: Any, window: Any, command: Any) -> Plan:
        planned.append(window.newest.stamp_ns)
        assert gate.wait(60.0)
        return real(self, window, command)

    monkeypatch.setattr(planning.Planner, "warm_up", lambda self: None)
    monkeypatch.setattr(planning.Planner, "step", slow)
    h = host(VavamNode, plan_rate_hz=10.0, tokenize_rate_hz=10.0)
    w = world(h.name)
    raw = w.listen(Path, "path_raw")
    h.node.autostart()
    tokenizing, part = h.node.tokenizing, h.node.planning
    w.drive(30.0, until=lambda: part.worker is not None and part.worker.counts.skipped >= 5)
    assert len(planned) == 1, "one inference in flight"
    assert part.worker.counts.skipped >= 5
    frames, odometry = tokenizing.frames, h.node.odometry.monitor.count
    w.drive(10.0, until=lambda: tokenizing.frames > frames + 2 and h.node.odometry.monitor.count > odometry + 20)
    assert tokenizing.frames > frames + 2, "images go on"
    assert w.state() == "active", "services go on"
    assert not raw
    gate.set()
    w.drive(10.0, until=lambda: len(raw) >= 2)
    assert len(raw) >= 2
    assert planned[1] - planned[0] > 500_000_000, "the newest waiting window was next, not the oldest"
    assert w.wait(lambda: w.says("overrun") or w.counted("overrun") > 0)


def test_a_result_in_flight_is_discarded_by_a_reset(world: Any, host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, inside = threading.Event(), threading.Event()
    real = planning.Planner.step

    def slow(self: Any, window: Any, command: Any) -> Plan:
        inside.set()
        assert gate.wait(60.0)
        return real(self, window, command)

    monkeypatch.setattr(planning.Planner, "warm_up", lambda self: None)
    monkeypatch.setattr(planning.Planner, "step", slow)
    h = host(VavamNode)
    w = world(h.name)
    raw = w.listen(Path, "path_raw")
    h.node.autostart()
    w.drive(30.0, until=inside.is_set)
    assert inside.is_set()
    h.node.reset_all("test", keep_odometry=False)
    gate.set()
    worker = h.node.planning.worker
    assert w.wait(lambda: worker.counts.discarded == 1)
    assert not raw
    assert worker.counts.done == 0


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), DomainError("odd")])
def test_an_error_in_the_inference_thread_is_reported_and_survived(world: Any, host: Any, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    real, failing = planning.Planner.step, threading.Event()
    failing.set()

    def step(self: Any, window: Any, command: Any) -> Plan:
        if failing.is_set():
            raise error
        return real(self, window, command)

    monkeypatch.setattr(planning.Planner, "warm_up", lambda self: None)
    monkeypatch.setattr(planning.Planner, "step", step)
    h = host(VavamNode)
    w = world(h.name)
    raw = w.listen(Path, "path_raw")
    h.node.autostart()
    w.drive(30.0, until=lambda: w.says("inference_failed"))
    assert str(error) in w.status("model")["message"]
    assert not raw
    failing.clear()
    w.drive(10.0, until=lambda: len(raw) > 0)
    assert raw
    assert w.wait(lambda: not w.says("inference_failed"))


def test_debug_pictures_are_made_for_subscribers_only(world: Any, host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            made.append(name)
            return function(*args, **kwargs)

        return wrapper

    monkeypatch.setattr(visual, "markers", counted("markers", visual.markers))
    monkeypatch.setattr(visual, "overlay", counted("overlay", visual.overlay))
    monkeypatch.setattr(vavam_node.convert, "rgb_msg", counted("picture", vavam_node.convert.rgb_msg))
    monkeypatch.setattr(vavam_node.convert, "frame_tokens_msg", counted("tokens", vavam_node.convert.frame_tokens_msg))
    h = host(VavamNode)
    w = world(h.name)
    raw = w.listen(Path, "path_raw")
    h.node.autostart()
    w.drive(30.0, until=lambda: len(raw) >= 2)
    assert len(raw) >= 2
    assert made == []
    markers, model_image, overlay = w.listen(MarkerArray, "markers"), w.listen(Image, "model_image"), w.listen(Image, "overlay")
    w.drive(20.0, until=lambda: bool(markers and model_image and overlay))
    assert len(markers[-1].markers) == 8
    assert markers[-1].markers[0].header.frame_id == "odom"
    assert (model_image[-1].height, model_image[-1].width, model_image[-1].encoding) == (48, 64, "rgb8")
    assert (overlay[-1].height, overlay[-1].width) == (48, 64)
    assert set(made) == {"markers", "picture", "overlay"}


def test_a_node_that_has_ended_is_gone_from_the_graph_and_from_memory(world: Any, host: Any) -> None:
    h = host(VavamNode)
    w, name = world(h.name), h.name
    h.node.autostart()
    w.drive(20.0, until=lambda: h.node.active)
    assert w.wait(lambda: name in w.node.get_node_names())
    node = weakref.ref(h.node)
    h.close()
    gc.collect()
    assert node() is None, f"held by {gc.get_referrers(node())}"
    assert w.wait(lambda: name not in w.node.get_node_names()), "its participant lives on"


def test_the_end_of_the_context_is_noticed_though_nobody_wakes_the_executor() -> None:
    """What a signal does at an unlucky moment: the executor has been woken too early, and nothing wakes it again."""
    context = Context()
    rclpy.init(context=context)
    node = Node("sleeper", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    model_node.keep_awake(node)

    def spin() -> None:
        with contextlib.suppress(ExternalShutdownException):
            executor.spin()

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    with context.handle:
        context.handle.shutdown()  # without the callbacks of Context.shutdown, which would wake it
    thread.join(20.0)
    assert not thread.is_alive()


def test_a_model_that_is_being_read_does_not_delay_the_end(host: Any) -> None:
    SlowLoad.gate.clear()
    h = host(SlowLoad)
    h.node.autostart()
    try:
        deadline = time.monotonic() + 20.0
        while not h.node._stage and time.monotonic() < deadline:
            time.sleep(0.01)
        assert h.node._stage
        began = time.monotonic()
        assert not h.node.close(), "the thread cannot be joined"
        assert time.monotonic() - began < model_node.END_S
    finally:
        SlowLoad.gate.set()
