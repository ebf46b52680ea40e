"""Where the time went in a live run, from a recording of it: every picture's way from its stamp to the Path, as the recorder heard each message.

The recorder stamps what it hears: a span between two messages holds the work and the transport of both ends. The nodes' own stages come with the
samples, as durations; they are laid end to end before the moment at which the samples were heard.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from vavam_ros.bags import BagReader
from vavam_ros.core.contracts import NS_PER_S, BagError
from vavam_ros.replay import messages
from vavam_ros.replay.playback import header_stamp_ns

SAME_CLOCK_S = 10.0  # a picture heard within this after its stamp was stamped by the recorder's own clock
PICTURES = (messages.IMAGE, messages.COMPRESSED_IMAGE)


@dataclass(slots=True, kw_only=True)
class Journey:
    """One picture, by its stamp: when what was made of it was heard, recording time; None: not at all."""

    stamp_ns: int
    picture_ns: int | None = None
    tokens_ns: int | None = None
    samples_ns: int | None = None
    raw_path_ns: int | None = None
    path_ns: int | None = None  # the first placed path after the raw one
    stage_ms: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A piece of a journey. `lane`: 0 for what was heard, 1 for the nodes' own stages within, 2 for the whole."""

    name: str
    start_ns: int
    end_ns: int
    lane: int = 0

    @property
    def ms(self) -> float:
        """Length."""
        return (self.end_ns - self.start_ns) / 1e6


@dataclass(slots=True)
class Profile:
    """All journeys of a recording that led to samples, and how many pictures did not."""

    journeys: list[Journey] = field(default_factory=list)
    unplanned: int = 0


def spans_of(journey: Journey) -> Iterator[Span]:
    """The pieces that are known, in order, then the whole from picture to path."""
    j = journey
    if j.picture_ns is not None and 0 <= j.picture_ns - j.stamp_ns <= SAME_CLOCK_S * NS_PER_S:
        yield Span(name="stamp → picture heard", start_ns=j.stamp_ns, end_ns=j.picture_ns)
    heard = [("picture", j.picture_ns), ("tokens", j.tokens_ns), ("samples", j.samples_ns), ("raw path", j.raw_path_ns), ("path", j.path_ns)]
    known = [(name, t) for name, t in heard if t is not None]
    for (a, start_ns), (b, end_ns) in pairwise(known):
        yield Span(name=f"{a} → {b}", start_ns=start_ns, end_ns=end_ns)
    if j.samples_ns is not None:
        end_ns = j.samples_ns
        for stage, ms in reversed(j.stage_ms):
            yield Span(name=f"stage: {stage}", start_ns=end_ns - round(ms * 1e6), end_ns=end_ns, lane=1)
            end_ns -= round(ms * 1e6)
    if j.picture_ns is not None and j.path_ns is not None:
        yield Span(name="whole: picture → path", start_ns=j.picture_ns, end_ns=j.path_ns, lane=2)


def read_profile(path: Path, image_topic: str | None = None) -> Profile:
    """Raises BagError for a bag without pictures or samples, such as a replay writes: its times would be the drive's, not the work's."""
    with BagReader(path) as reader:
        image = reader.topic_of(PICTURES, wanted=image_topic, what="camera", option="--image-topic")
        samples = reader.topic_of([messages.TRAJECTORY_SAMPLES], wanted=None, what="samples", option="")
        if image is None or samples is None:
            missing = "pictures" if image is None else "TrajectorySamples"
            raise BagError(f"{path}: got no {missing}, expected a recording of the camera, ~/tokens, ~/samples, ~/path_raw and ~/path of a live run")
        node = samples.name.rpartition("/")[0]
        made: dict[int, Journey] = {}
        placed_ns: list[int] = []
        paths = [name for name in (f"{node}/path_raw", f"{node}/path") if name in reader.topics]
        tokens = [t.name for t in reader.topics.values() if t.type_name == messages.FRAME_TOKENS]
        for message in reader.messages([image.name, samples.name, *paths, *tokens]):
            if message.topic == f"{node}/path":
                placed_ns.append(message.log_ns)
                continue
            stamp_ns = header_stamp_ns(message.data)
            journey = made.setdefault(stamp_ns, Journey(stamp_ns=stamp_ns))
            if message.topic == image.name:
                journey.picture_ns = message.log_ns
            elif message.topic in tokens:
                journey.tokens_ns = message.log_ns
            elif message.topic == samples.name:
                journey.samples_ns = message.log_ns
                decoded = reader.decode(message)
                journey.stage_ms = tuple(zip(map(str, decoded.stage_names), map(float, decoded.stage_ms), strict=True))
            else:
                journey.raw_path_ns = message.log_ns
    return _joined(list(made.values()), np.array(sorted(placed_ns), np.int64))


def _joined(journeys: list[Journey], placed_ns: Any) -> Profile:
    """With the first placed path after each raw one."""
    profile = Profile()
    for journey in sorted(journeys, key=lambda j: j.stamp_ns):
        if journey.samples_ns is None:
            profile.unplanned += journey.picture_ns is not None
            continue
        if journey.raw_path_ns is not None:
            i = int(np.searchsorted(placed_ns, journey.raw_path_ns))
            journey.path_ns = int(placed_ns[i]) if i < len(placed_ns) else None
        profile.journeys.append(journey)
    return profile


def table(profile: Profile) -> str:
    """Milliseconds per span over all journeys, for people."""
    found: dict[str, list[float]] = {}
    for journey in profile.journeys:
        for span in spans_of(journey):
            found.setdefault(span.name, []).append(span.ms)
    lines = [f"{'':32} {'n':>6} {'p50 ms':>9} {'p95 ms':>9} {'max ms':>9}"]
    for name, ms in found.items():
        p50, p95 = np.percentile(ms, [50, 95])
        lines.append(f"{name:32} {len(ms):6} {p50:9.1f} {p95:9.1f} {max(ms):9.1f}")
    return "\n".join(lines)


def write_trace(path: Path, journeys: Sequence[Journey], spans_of: Callable[[Journey], Iterable[Span]] = spans_of) -> None:
    """Chrome's trace event format (JSON), which Perfetto and chrome://tracing open: one row for what was heard, one for the stages, one for the whole."""
    spans = [(j, span) for j in journeys for span in spans_of(j)]
    origin_ns = min((span.start_ns for _, span in spans), default=0)
    rows = ("heard", "stages (durations that the nodes sent)", "whole")
    events: list[dict[str, Any]] = [{"ph": "M", "name": "thread_name", "pid": 1, "tid": i, "args": {"name": name}} for i, name in enumerate(rows)]
    for i, (journey, span) in enumerate(spans):  # asynchronous events: journeys overlap
        common = {"cat": rows[span.lane], "name": span.name, "id": i, "pid": 1, "tid": span.lane}
        start_us, end_us = (span.start_ns - origin_ns) / 1e3, (span.end_ns - origin_ns) / 1e3
        events.append({**common, "ph": "b", "ts": start_us, "args": {"image_stamp_ns": str(journey.stamp_ns), "ms": span.ms}})
        events.append({**common, "ph": "e", "ts": end_us})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}), encoding="utf-8")
