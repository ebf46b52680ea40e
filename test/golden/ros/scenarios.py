"""What is asked of message_filters, cv_bridge and tf2, real or stand-in, and how the answers are written down.

A scenario is plain data (it is stored beside its outcome); a runner puts it to the implementation that is passed in. The real packages
and the stand-ins have the same top-level names, so one process runs one of them.
"""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import numpy as np

S = 1_000_000_000
MS = 1_000_000


def synchronizer_scenarios() -> dict[str, dict[str, Any]]:
    """name → inputs, queue_size, slop_s (None: exact), messages as [input, stamp_ns]; stamp None is a message without a header."""

    def case(messages: list[list[Any]], *, inputs: int = 2, queue_size: int = 10, slop_s: float | None = None, headerless: bool = False) -> dict[str, Any]:
        return {"inputs": inputs, "queue_size": queue_size, "slop_s": slop_s, "allow_headerless": headerless, "messages": messages}

    t = [S + i * 100 * MS for i in range(12)]
    alternating = [[i, stamp] for stamp in t[:5] for i in (0, 1)]
    near = [[i, stamp + i * 20 * MS] for stamp in t[:5] for i in (0, 1)]
    cases = {
        "exact pairs": case(alternating),
        "exact, second input first": case([[1, t[0]], [0, t[0]], [1, t[1]], [0, t[1]]]),
        "exact, one input drops": case([m for m in alternating if m not in ([1, t[1]], [1, t[3]])]),
        "exact, one input late as a block": case([[0, s] for s in t[:5]] + [[1, s] for s in t[:5]]),
        "exact, out of order": case([[0, t[2]], [0, t[0]], [0, t[1]], [1, t[1]], [1, t[2]], [1, t[0]]]),
        "exact, queue overflow": case([[0, s] for s in t[:6]] + [[1, s] for s in t[:6]], queue_size=3),
        "exact, queue of one": case([*alternating[:3], [0, t[2]], [1, t[1]], [1, t[2]]], queue_size=1),
        "exact, duplicates": case([[0, t[0]], [0, t[0]], [1, t[0]], [1, t[0]], [0, t[0]]]),
        "exact, one nanosecond apart": case([[0, t[0]], [1, t[0] + 1], [1, t[0]]]),
        "exact, stamp zero": case([[0, 0], [1, 0]]),
        "exact, time jumps back": case([[0, s] for s in t[5:9]] + [[0, t[0]], [1, t[0]], [1, t[6]], [0, t[1]], [1, t[1]]], queue_size=4),
        "exact, time jumps back, full queue": case([[0, s] for s in t[5:9]] + [[1, t[0]], [0, t[0]], [0, t[1]], [1, t[1]]], queue_size=3),
        "exact, three inputs": case([[i, stamp] for stamp in t[:3] for i in (2, 0, 1)], inputs=3),
        "exact, three inputs, holes": case([[0, t[0]], [1, t[0]], [0, t[1]], [1, t[1]], [2, t[1]], [2, t[0]], [2, t[2]], [0, t[2]], [1, t[3]]], inputs=3),
        "exact, one input": case([[0, t[0]], [0, t[0]], [0, t[1]]], inputs=1),
        "near pairs": case(near, slop_s=0.05),
        "near, equal stamps": case(alternating, slop_s=0.05),
        "near, slop zero, equal stamps": case(alternating[:4], slop_s=0.0),
        "near, exactly at the slop": case([[0, t[0]], [1, t[0] + 50 * MS]], slop_s=0.05),
        "near, one nanosecond inside the slop": case([[0, t[0]], [1, t[0] + 50 * MS - 1]], slop_s=0.05),
        "near, one nanosecond beyond the slop": case([[0, t[0]], [1, t[0] + 50 * MS + 1]], slop_s=0.05),
        "near, the closest wins": case([[0, t[0]], [0, t[0] + 30 * MS], [0, t[0] + 45 * MS], [1, t[0] + 33 * MS]], slop_s=0.05),
        "near, equally close": case([[0, t[0] + 20 * MS], [0, t[0]], [1, t[0] + 10 * MS]], slop_s=0.05),
        "near, out of order": case([[0, t[2]], [0, t[1]], [1, t[1] + 5 * MS], [1, t[2] - 5 * MS]], slop_s=0.05),
        "near, drops": case([m for k, m in enumerate(near) if k not in (1, 4)], slop_s=0.05),
        "near, duplicates": case([[0, t[0]], [0, t[0]], [1, t[0] + MS], [1, t[0] + MS], [0, t[0] + 2 * MS]], slop_s=0.05),
        "near, queue overflow": case([[0, s] for s in t[:6]] + [[1, s + MS] for s in t[:6]], slop_s=0.05, queue_size=3),
        "near, older than a full queue": case([[0, s] for s in t[3:6]] + [[1, t[0]], [0, t[0] + MS]], slop_s=0.05, queue_size=3),
        "near, time jumps back": case([[0, t[6]], [0, t[7]], [1, t[0]], [0, t[0] + MS], [1, t[7] + MS]], slop_s=0.05),
        "near, three inputs": case([[i, stamp + i * 15 * MS] for stamp in t[:4] for i in (1, 2, 0)], inputs=3, slop_s=0.05),
        "near, three inputs, pairwise but not together": case([[0, t[0]], [1, t[0] + 60 * MS], [2, t[0] + 30 * MS]], inputs=3, slop_s=0.05),
        "near, three inputs, a second choice": case([[0, t[0]], [0, t[0] + 40 * MS], [1, t[0] + 70 * MS], [2, t[0] + 30 * MS]], inputs=3, slop_s=0.05),
        "near, headerless refused": case([[0, None], [1, t[0]], [0, t[0]]], slop_s=0.05),
        "near, headerless stamped on arrival": case([[0, None], [1, None], [1, t[0]], [0, None], [1, None]], slop_s=60.0, headerless=True),
    }
    for seed in range(24):
        cases[f"random {seed}"] = _random_case(seed, case)
    return cases


def _random_case(seed: int, case: Any) -> dict[str, Any]:
    rng = random.Random(seed)
    inputs = 3 if seed % 3 == 2 else 2
    exact = seed % 4 == 0
    messages: list[tuple[float, list[Any]]] = []
    for k in range(16):
        for i in range(inputs):
            if rng.random() < 0.85:
                stamp = S + k * 50 * MS + (0 if exact else rng.randint(-20, 20) * MS)
                messages.extend([(k + rng.random() * 3, [i, stamp])] * (2 if rng.random() < 0.08 else 1))
    messages.sort(key=lambda m: m[0])
    slop = None if exact else rng.choice([0.01, 0.02, 0.04])
    return case([m for _, m in messages], inputs=inputs, queue_size=rng.choice([2, 3, 5, 10]), slop_s=slop)


def run_synchronizer(message_filters: Any, scenario: dict[str, Any]) -> list[list[Any]]:
    """[number of the message on whose arrival it came, [numbers of the messages in the set]] for every set that came out."""
    from rclpy.time import Time

    filters = [message_filters.SimpleFilter() for _ in range(scenario["inputs"])]
    if scenario["slop_s"] is None:
        synchronizer = message_filters.TimeSynchronizer(filters, scenario["queue_size"])
    else:
        synchronizer = message_filters.ApproximateTimeSynchronizer(
            filters, scenario["queue_size"], scenario["slop_s"], allow_headerless=scenario["allow_headerless"]
        )
    outcome: list[list[Any]] = []
    arrived = -1

    def on_set(*messages: Any) -> None:
        outcome.append([arrived, [m.number for m in messages]])

    synchronizer.registerCallback(on_set)
    for arrived, (source, stamp_ns) in enumerate(scenario["messages"]):
        message = SimpleNamespace(number=arrived)
        if stamp_ns is not None:
            message.header = SimpleNamespace(stamp=Time(nanoseconds=stamp_ns).to_msg())
        filters[source].signalMessage(message)
    return outcome


RAW = ("rgb8", "bgr8", "rgba8", "bgra8", "mono8", "yuv422", "uyvy", "yuv422_yuy2", "yuyv")
DESIRED = ("passthrough", "", *RAW)
_CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1} | dict.fromkeys(RAW[5:], 2)


def image_cases(cv2: Any) -> dict[str, tuple[str, dict[str, Any]]]:
    """name → (call, arguments); pixels are drawn from a fixed seed, compressed bytes are made by `cv2` and stored with the outcome."""
    rng = np.random.default_rng(7)
    cases: dict[str, tuple[str, dict[str, Any]]] = {}
    for encoding in RAW:
        row = 8 * _CHANNELS[encoding]
        plain = rng.integers(0, 256, (6, row), np.uint8)
        padded = np.concatenate([plain, rng.integers(0, 256, (6, 4 * _CHANNELS[encoding]), np.uint8)], axis=1)
        raw = {"encoding": encoding, "width": 8, "height": 6, "step": row, "data": plain}
        for desired in DESIRED:
            cases[f"{encoding} to {desired or 'empty'}"] = ("imgmsg_to_cv2", raw | {"desired": desired})
        cases[f"{encoding} padded"] = ("imgmsg_to_cv2", raw | {"step": padded.shape[1], "data": padded, "desired": "passthrough"})
        cases[f"{encoding} padded to bgr8"] = ("imgmsg_to_cv2", raw | {"step": padded.shape[1], "data": padded, "desired": "bgr8"})
        cases[f"{encoding} truncated"] = ("imgmsg_to_cv2", raw | {"data": plain[:-1], "desired": "passthrough"})
    for encoding in ("nonsense", "RGB8", ""):
        cases[f"unknown encoding {encoding or 'empty'}"] = ("imgmsg_to_cv2", raw | {"encoding": encoding, "desired": "bgr8"})
    cases["unknown desired encoding"] = ("imgmsg_to_cv2", raw | {"encoding": "rgb8", "step": 24, "data": plain.repeat(2, axis=1), "desired": "nonsense"})
    y, x = np.mgrid[0:16, 0:24].astype(np.float64)
    smooth = np.stack([100 + 4 * x, 180 - 5 * y, 60 + 2 * x + 3 * y], axis=-1).astype(np.uint8)
    pictures = {
        "png": cv2.imencode(".png", smooth)[1],
        "jpeg": cv2.imencode(".jpg", smooth)[1],
        "grey png": cv2.imencode(".png", smooth[..., 0])[1],
        "png with alpha": cv2.imencode(".png", np.concatenate([smooth, smooth[..., :1]], axis=-1))[1],
        "not a picture": np.arange(40, dtype=np.uint8),
    }
    for name, data in pictures.items():
        for desired in ("passthrough", "bgr8", "rgb8", "bgra8", "mono8"):
            cases[f"{name} to {desired}"] = ("compressed_imgmsg_to_cv2", {"data": data.reshape(-1), "desired": desired})
    for channels, encodings in (
        (1, ("passthrough", "mono8", "rgb8")),
        (3, ("passthrough", "bgr8", "rgba8", "mono8", "nonsense")),
        (4, ("bgra8", "rgb8")),
        (2, ("yuv422",)),
    ):
        image = rng.integers(0, 256, (6, 8, channels) if channels > 1 else (6, 8), np.uint8)
        for encoding in encodings:
            cases[f"message of {channels} channels as {encoding}"] = ("cv2_to_imgmsg", {"image": image, "encoding": encoding})
    cases["message of float"] = ("cv2_to_imgmsg", {"image": np.zeros((2, 3), np.float32), "encoding": "passthrough"})
    cases["message of a view"] = ("cv2_to_imgmsg", {"image": smooth[::2, ::-1], "encoding": "bgr8"})
    for dst in ("png", "nonsense"):
        cases[f"compressed message as {dst}"] = ("cv2_to_compressed_imgmsg", {"image": smooth, "format": dst})
    return cases


def run_image(cv_bridge: Any, cv2: Any, call: str, given: dict[str, Any]) -> dict[str, Any]:
    """{"array": …} or {"message": …, "array": its bytes, as pixels where compressed} or {"error": the name of its class}."""
    from sensor_msgs.msg import CompressedImage, Image

    bridge = cv_bridge.CvBridge()
    try:
        if call == "imgmsg_to_cv2":
            raw = Image(encoding=given["encoding"], width=given["width"], height=given["height"], step=given["step"], data=given["data"].tobytes())
            return {"array": bridge.imgmsg_to_cv2(raw, given["desired"])}
        if call == "compressed_imgmsg_to_cv2":
            image = bridge.compressed_imgmsg_to_cv2(CompressedImage(format="", data=given["data"].tobytes()), given["desired"])
            return {"none": True} if image is None else {"array": image}
        if call == "cv2_to_imgmsg":
            msg = bridge.cv2_to_imgmsg(given["image"], given["encoding"])
            fields = {"encoding": msg.encoding, "width": msg.width, "height": msg.height, "step": msg.step, "is_bigendian": int(msg.is_bigendian)}
            return {"message": fields, "array": np.frombuffer(msg.data, np.uint8)}
        compressed = bridge.cv2_to_compressed_imgmsg(given["image"], given["format"])
        return {"message": {"format": compressed.format}, "array": cv2.imdecode(np.frombuffer(compressed.data, np.uint8), cv2.IMREAD_UNCHANGED)}
    except (TypeError, cv2.error) as error:
        return {"error": type(error).__name__}


def transform_scenarios() -> dict[str, dict[str, Any]]:
    """name → steps: ["set", static, parent, child, stamp_ns, xyz, xyzw], ["look", target, source, stamp_ns] or ["clear"]."""
    half = 0.7071067811865476
    left, pitch, none = [0.0, 0.0, half, half], [0.0, half, 0.0, half], [0.0, 0.0, 0.0, 1.0]
    optical = [-0.5, 0.5, -0.5, 0.5]
    mount: list[Any] = ["set", True, "base_link", "camera", 0, [1.7, 0.1, 1.5], pitch]
    lens: list[Any] = ["set", True, "camera", "camera_optical", 0, [0.0, 0.0, 0.01], optical]
    drive: list[list[Any]] = [
        ["set", False, "odom", "base_link", (10 + k) * S, [2.0 * k, 0.5 * k * k, 0.0], q] for k, q in enumerate((none, left, [0.0, 0.0, 1.0, 0.0]))
    ]
    shift: list[list[Any]] = [["set", False, "map", "odom", (9 + 2 * k) * S, [100.0 + k, 50.0, 0.0], left] for k in range(3)]
    everything = [mount, lens, *drive, *shift]

    def looks(stamps: list[int], *pairs: str) -> list[list[Any]]:
        return [["look", *pair.split(), stamp] for pair in pairs for stamp in stamps]

    return {
        "static chain": {"steps": [mount, lens, *looks([0, 5 * S], "base_link camera", "base_link camera_optical", "camera_optical base_link")]},
        "moving": {"steps": [*drive, *looks([0, 10 * S, 10 * S + S // 4, 11 * S, 12 * S, 9 * S, 13 * S], "odom base_link", "base_link odom")]},
        "long chain": {
            "steps": [
                *everything,
                *looks([0, 10 * S + S // 3, 12 * S, 13 * S, 9 * S], "map camera_optical", "camera_optical map", "odom camera", "map base_link"),
            ]
        },
        "unknown frames": {"steps": [mount, *looks([0, S], "base_link nowhere", "nowhere base_link", "nowhere nowhere")]},
        "nothing known": {"steps": looks([0], "a b", "a a")},
        "same frame": {"steps": [*everything, *looks([0, 11 * S, 20 * S], "base_link base_link", "camera camera", "map map")]},
        "two trees": {"steps": [mount, ["set", True, "x", "y", 0, [1.0, 0.0, 0.0], none], *looks([0, S], "base_link y", "y camera")]},
        "bad names": {"steps": [mount, *looks([0], "/base_link camera", "base_link /camera"), ["look", "", "camera", 0], ["look", "camera", "", 0]]},
        "leading slash when set": {"steps": [["set", True, "/base_link", "/camera", 0, [1.0, 2.0, 3.0], none], *looks([0], "base_link camera")]},
        "refused when set": {
            "steps": [
                ["set", False, "a", "a", S, [1.0, 0.0, 0.0], none],
                ["set", False, "", "b", S, [1.0, 0.0, 0.0], none],
                ["set", False, "a", "c", S, [1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]],
                ["set", False, "a", "d", S, [1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.1]],
                ["set", False, "a", "e", S, [float("nan"), 0.0, 0.0], none],
                *looks([0], "a b", "a c", "a d", "a e"),
            ]
        },
        "out of order": {"steps": [drive[0], drive[2], *looks([11 * S], "odom base_link"), drive[1], *looks([0, 11 * S], "odom base_link")]},
        "repeated stamp": {"steps": [drive[0], ["set", False, "odom", "base_link", 10 * S, [7.0, 7.0, 7.0], none], *looks([0, 10 * S], "odom base_link")]},
        "older than the cache": {
            "steps": [
                *drive,
                ["set", False, "odom", "base_link", 30 * S, [9.0, 0.0, 0.0], none],
                *looks([0, 11 * S, 30 * S], "odom base_link"),
                ["set", False, "odom", "base_link", 15 * S, [8.0, 0.0, 0.0], none],
                *looks([15 * S], "odom base_link"),
            ]
        },
        "static sent again": {"steps": [mount, ["set", True, "base_link", "camera", 0, [9.0, 0.0, 0.0], none], *looks([0], "base_link camera")]},
        "static becomes moving": {"steps": [mount, ["set", False, "base_link", "camera", S, [9.0, 0.0, 0.0], none], *looks([0, S, 2 * S], "base_link camera")]},
        "moving becomes static": {"steps": [*drive, ["set", True, "odom", "base_link", S, [9.0, 0.0, 0.0], none], *looks([0, 2 * S], "odom base_link")]},
        "new parent": {
            "steps": [
                drive[0],
                ["set", False, "world", "base_link", 11 * S, [4.0, 0.0, 0.0], none],
                *looks([0, 10 * S, 11 * S, 10 * S + S // 2], "odom base_link", "world base_link"),
            ]
        },
        "loop": {"steps": [*(["set", True, a, b, 0, [1.0, 0.0, 0.0], none] for a, b in ("ab", "ba", "xy")), *looks([0], "a x")]},
        "cleared": {
            "steps": [*everything, ["clear"], *looks([0, 11 * S], "odom base_link", "base_link camera", "map camera"), drive[0], *looks([0], "odom camera")]
        },
    }


def run_transforms(buffer: Any, lookup: Any, exceptions: type[Exception], scenario: dict[str, Any]) -> list[Any]:
    """Per lookup [stamp_ns, xyz, xyzw] or the name of the exception. `lookup` is the method of `buffer` that looks up without waiting."""
    from geometry_msgs.msg import TransformStamped
    from rclpy.time import Time

    outcome: list[Any] = []
    for step in scenario["steps"]:
        if step[0] == "clear":
            buffer.clear()
        elif step[0] == "set":
            _, static, parent, child, stamp_ns, xyz, xyzw = step
            msg = TransformStamped(child_frame_id=child)
            msg.header.frame_id, msg.header.stamp = parent, Time(nanoseconds=stamp_ns).to_msg()
            v, r = msg.transform.translation, msg.transform.rotation
            v.x, v.y, v.z = xyz
            r.x, r.y, r.z, r.w = xyzw
            (buffer.set_transform_static if static else buffer.set_transform)(msg, "scenario")
        else:
            try:
                got = lookup(step[1], step[2], Time(nanoseconds=step[3]))
            except exceptions as error:
                outcome.append(type(error).__name__)
                continue
            v, r = got.transform.translation, got.transform.rotation
            outcome.append([Time.from_msg(got.header.stamp).nanoseconds, [v.x, v.y, v.z], [r.x, r.y, r.z, r.w]])
    return outcome
