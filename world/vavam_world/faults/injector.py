"""Faults on the world's outgoing messages (bridge.outgoing). Deterministic: what is random follows from a fault's seed and the tick.

Topics that carry pictures are `image` and `compressed`; both forms of a picture meet the same fate. Messages themselves are never changed: what goes out is a
copy.
"""

from __future__ import annotations

import copy
import math
import threading
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import cv2
import numpy as np

from vavam_ros.core.contracts import NS_PER_S
from vavam_world.bridge.outgoing import Emission, Outgoing
from vavam_world.bridge.stamps import time_msg
from vavam_world.contracts import TICK_S
from vavam_world.faults.spec import KINDS, Fault

PICTURES = ("image", "compressed")
GREY16 = 20_000


class Effect(Protocol):
    """What a fault makes of one message while it lasts; an empty result drops it."""

    def __call__(self, fault: Fault, out: Outgoing, injector: Injector) -> Sequence[Emission]:
        """`out.message` may have been changed by a fault before."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A fault that has touched its first message."""

    fault: Fault
    tick: int


class Injector:
    """Applies faults in the order given. Faults can be added while it runs, from another thread."""

    def __init__(self, faults: Sequence[Fault] = (), on_begin: Callable[[Begun], None] | None = None) -> None:
        self._faults = tuple(faults)
        self._lock = threading.Lock()
        self._asked: list[Fault] = []
        self._tick = 0
        self._on_begin = on_begin
        self._begun: set[int] = set()
        self.pictures: dict[str, Any] = {}  # topic → the last picture that went out unfrozen

    def request(self, faults: Sequence[Fault]) -> None:
        """From the next tick on, `begin_s` counted from it."""
        with self._lock:
            self._asked.extend(faults)

    def apply(self, out: Outgoing) -> Sequence[Emission]:
        """See bridge.outgoing.FaultInjector."""
        if out.tick != self._tick or out.kind == "clock":
            self._take_requests(out.tick)
        emissions: list[Emission] = [Emission(out.message)]
        frozen = False
        for i, fault in enumerate(self._faults):
            if not fault.begin_tick <= out.tick < fault.end_tick:
                continue
            frozen |= fault.name == "image_freeze"
            changed: list[Emission] = []
            for e in emissions:
                made = EFFECTS[fault.name](fault, replace(out, message=e.message), self)
                changed += [Emission(m.message, e.delay_ticks + m.delay_ticks, m.answered if e.answered is None else e.answered) for m in made]
            if i not in self._begun and (not changed or any(c.message is not e.message or c.delay_ticks for c, e in zip(changed, emissions))):
                self._begun.add(i)
                if self._on_begin is not None:
                    self._on_begin(Begun(fault=fault, tick=out.tick))
            emissions = changed
        if out.kind in PICTURES and not frozen:
            self.pictures[out.topic] = out.message
        return emissions

    def _take_requests(self, tick: int) -> None:
        with self._lock:
            asked, self._asked = self._asked, []
        self._tick = tick
        self._faults += tuple(replace(f, begin_s=f.begin_s + tick * TICK_S) for f in asked)

    def random(self, fault: Fault, tick: int) -> np.random.Generator:
        """Of one fault at one tick."""
        kind = list(KINDS).index(fault.name)
        return np.random.default_rng(np.random.SeedSequence(fault.seed, spawn_key=(kind, tick)))


# ── effects ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _same(out: Outgoing) -> tuple[Emission, ...]:
    return (Emission(out.message),)


def _with(message: Any, **fields: Any) -> Any:
    changed = copy.copy(message)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _bytes(data: Any) -> array[int]:
    made: array[int] = array("B")
    made.frombytes(bytes(data))
    return made


def _size(compressed: Any) -> tuple[int, int]:
    """(height, width)"""
    picture = cv2.imdecode(np.frombuffer(compressed.data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None  # the world has encoded it
    return picture.shape[0], picture.shape[1]


def _freeze(fault: Fault, out: Outgoing, injector: Injector) -> Sequence[Emission]:
    kept = injector.pictures.get(out.topic)
    return _same(out) if out.kind not in PICTURES or kept is None else (Emission(_with(kept, header=out.message.header)),)


def _black(fault: Fault, out: Outgoing, injector: Injector) -> Sequence[Emission]:
    m = out.message
    if out.kind == "image":
        return (Emission(_with(m, data=_bytes(bytes(len(m.data))))),)
    if out.kind == "compressed":
        return (Emission(_with(m, data=_bytes(cv2.imencode(".jpg", np.zeros((*_size(m), 3), np.uint8))[1].tobytes()))),)
    return _same(out)


def _drop(fault: Fault, out: Outgoing, injector: Injector) -> Sequence[Emission]:
    lost = out.kind in PICTURES and injector.random(fault, out.tick).random() < fault.value("share")
    return () if lost else _same(out)


def _loss(fault: Fault, out: Outgoing, injector: Injector) -> Sequence[Emission]:
    return () if out.kind in (*PICTURES, "camera_info") else _same(out)


def _delay(fault: Fault, out: Outgoing, injector: Injector) -> Sequence[Emission]:
    if out.kind not in PICTURES:
        return _same(out)
    spread = fault.value("jitter_s") * injector.random(fault, out.tick).uniform(-1.0, 1.0)
    return (Emission(out.message, max(0, round((fault.value("delay_s") + spread) / TICK_S))),)


def _encoding(fault: Fault, out: Outgoing, injector: Injector) -> Sequence[Emission]:
    m = out.message
    if out.kind == "image":
        data = np.full((m.height, m.width), GREY16, np.uint16)
        return (Emission(_with(m, encoding="mono16", step=2 * m.width, data=_bytes(data.tobytes()))),)
    if out.kind == "compressed":
        png = cv2.imencode(".png", np.full(_size(m), GREY16, np.uint16))[1]
        return (Emission(_with(m, format="mono16; png compressed mono16", data=_bytes(png.tobytes()))),)
    return _same(out)


def _truncated(fault: Fault, out: Outgoing, injector: Injector) -> Sequence[Emission]:
    m = out.message
    return (Emission(_with(m, data=m.data[: int(len(m.data) * fault.value("share"))])),) if out.kind in PICTURES else _same(out)


def _camera_info(fault: Fault, out: Outgoing, injector: Injector) -> Sequence[Emission]:
    if out.kind != "camera_info":
        return _same(out)
    k, p, factor = [float(v) for v in out.message.k], [float(v) for v in out.message.p], fault.value("factor")
    for values, places in ((k, (0, 4)), (p, (0, 5))):
        for place in places:
            values[place] *= factor
    return (Emission(_with(out.message, k=k, p=p)),)


def _moved(message: Any, x_m: float) -> Any:
    pose = copy.deepcopy(message.pose)
    pose.pose.position.x += x_m
    return _with(message, pose=pose)


def _odometry_jump(fault: Fault, out: Outgoing, injector: Injector) -> Sequence[Emission]:
    return (Emission(_moved(out.message, fault.value("metres")), answered=True),) if out.kind == "odometry" else _same(out)


def _odometry_nan(fault: Fault, out: Outgoing, injector: Injector) -> Sequence[Emission]:
    if out.kind != "odometry":
        return _same(out)
    spoilt = _moved(out.message, math.nan)
    twist = copy.deepcopy(spoilt.twist)
    twist.twist.linear.x = math.nan
    return (Emission(_with(spoilt, twist=twist), answered=True),)  # the gate answers in the follower's place


def _odometry_loss(fault: Fault, out: Outgoing, injector: Injector) -> Sequence[Emission]:
    return () if out.kind == "odometry" else _same(out)


def _clock_jump(fault: Fault, out: Outgoing, injector: Injector) -> Sequence[Emission]:
    back_ns = round(fault.value("seconds") * NS_PER_S)
    m = out.message
    if out.kind == "clock":
        return (Emission(_with(m, clock=_earlier(m.clock, back_ns)), answered=True),)
    if out.kind == "tf":
        return (Emission(_with(m, transforms=[_with(t, header=_header(t, back_ns)) for t in m.transforms]), answered=True),)
    return (Emission(_with(m, header=_header(m, back_ns)), answered=True),) if hasattr(m, "header") else _same(out)


def _header(message: Any, back_ns: int) -> Any:
    return _with(message.header, stamp=_earlier(message.header.stamp, back_ns))


def _earlier(stamp: Any, back_ns: int) -> Any:
    return time_msg(max(1, stamp.sec * NS_PER_S + stamp.nanosec - back_ns))


EffectTable: TypeAlias = "dict[str, Effect]"
EFFECTS: EffectTable = {
    "image_freeze": _freeze,
    "image_black": _black,
    "image_drop": _drop,
    "image_loss": _loss,
    "image_delay": _delay,
    "image_encoding": _encoding,
    "image_truncated": _truncated,
    "camera_info_change": _camera_info,
    "odometry_jump": _odometry_jump,
    "odometry_nan": _odometry_nan,
    "odometry_loss": _odometry_loss,
    "clock_jump": _clock_jump,
}
