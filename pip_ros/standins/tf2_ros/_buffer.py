"""The transform tree over time.

`T_a_b` maps points given in b to a. A frame stores its pose in its parent: `T_parent_child`, over time or once and for all.
"""

from __future__ import annotations

import bisect
import threading
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from geometry_msgs.msg import TransformStamped
from rclpy.clock import Clock, JumpThreshold
from rclpy.duration import Duration
from rclpy.logging import get_logger
from rclpy.time import Time

from tf2_ros._exceptions import ConnectivityException, ExtrapolationException, InvalidArgumentException, LookupException, TransformException

F64 = npt.NDArray[np.float64]


class _Pose(NamedTuple):
    xyz: F64
    xyzw: F64  # unit quaternion, ROS order


_IDENTITY = _Pose(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]))


@dataclass(slots=True)
class _Frame:
    """Poses in the parent by stamp, ascending; a static frame has one pose, for all times. Each pose keeps its own parent."""

    static: bool
    stamps_ns: list[int] = field(default_factory=list)
    poses: list[tuple[str, _Pose]] = field(default_factory=list)

    def add(self, stamp_ns: int, parent: str, pose: _Pose, keep_ns: int) -> bool:
        if self.static:
            self.stamps_ns, self.poses = [0], [(parent, pose)]
            return True
        # What is too old goes by the newest before this one, as in the real buffer.
        oldest_ns = self.stamps_ns[-1] - keep_ns if self.stamps_ns else stamp_ns
        old = bisect.bisect_left(self.stamps_ns, oldest_ns)
        del self.stamps_ns[:old], self.poses[:old]
        if stamp_ns < oldest_ns:
            return False
        at = bisect.bisect_left(self.stamps_ns, stamp_ns)
        again = self.stamps_ns[at : at + 1] == [stamp_ns]
        self.stamps_ns[at : at + again] = [stamp_ns]
        self.poses[at : at + again] = [(parent, pose)]
        return True

    def newest_ns(self) -> int | None:
        return None if self.static or not self.stamps_ns else self.stamps_ns[-1]

    def parent_at(self, stamp_ns: int) -> str:
        """The parent at a time; 0 and times before the first: the newest's."""
        if self.static or stamp_ns == 0:
            return self.poses[-1][0]
        return self.poses[max(0, bisect.bisect_right(self.stamps_ns, stamp_ns) - 1)][0]

    def pose_at(self, stamp_ns: int, name: str) -> _Pose:
        if self.static:
            return self.poses[0][1]
        first, last = self.stamps_ns[0], self.stamps_ns[-1]
        if not first <= stamp_ns <= last:
            side = "past" if stamp_ns < first else "future"
            raise ExtrapolationException(
                f"Lookup would require extrapolation into the {side}. Requested time {stamp_ns / 1e9:.6f} but frame [{name}] is known "
                f"from {first / 1e9:.6f} to {last / 1e9:.6f}"
            )
        after = bisect.bisect_left(self.stamps_ns, stamp_ns)
        parent, pose = self.poses[after]
        if self.stamps_ns[after] == stamp_ns:
            return pose
        earlier_parent, earlier = self.poses[after - 1]
        if earlier_parent != parent:
            return earlier
        t0, t1 = self.stamps_ns[after - 1], self.stamps_ns[after]
        return _between(earlier, pose, (stamp_ns - t0) / (t1 - t0))


class Buffer:
    """Transforms of the last `cache_time` (10 s), and the static ones; emptied when `node`'s clock jumps back. Safe to use from several threads."""

    def __init__(self, cache_time: Duration | None = None, node: Any = None) -> None:
        self._keep_ns = int((cache_time or Duration(seconds=10)).nanoseconds)
        self._frames: dict[str, _Frame] = {}
        self._known: set[str] = set()
        self._changed = threading.Condition(threading.RLock())
        self.clock = node.get_clock() if node is not None else Clock()
        threshold = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=True)
        self.jump_handle = self.clock.create_jump_callback(threshold, post_callback=self._on_jump)

    def _on_jump(self, _jump: Any) -> None:
        get_logger("tf2_buffer").warning("time jumped back or the clock changed: forgetting all transforms")
        self.clear()

    def clear(self) -> None:
        """Forget the transforms over time. Frame names stay known, and static transforms too."""
        with self._changed:
            self._frames = {name: frame if frame.static else _Frame(False) for name, frame in self._frames.items()}

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Take in one transform of a moment; one that cannot be meant is logged and left out."""
        self._set(transform, authority, static=False)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Take in one transform that holds for all times."""
        self._set(transform, authority, static=True)

    def _set(self, transform: TransformStamped, authority: str, static: bool) -> None:
        parent, child = transform.header.frame_id.removeprefix("/"), transform.child_frame_id.removeprefix("/")
        r, t = transform.transform.rotation, transform.transform.translation
        pose = _Pose(np.array([t.x, t.y, t.z]), np.array([r.x, r.y, r.z, r.w]))
        length = float(np.linalg.norm(pose.xyzw))
        fault = _fault(parent, child, pose, length)
        if fault:
            get_logger("tf2_buffer").error(f"ignoring transform [{parent}] -> [{child}] from {authority}: {fault}")
            return
        with self._changed:
            self._known |= {parent, child}
            frame = self._frames.get(child)
            if frame is None or frame.static != static:
                frame = self._frames[child] = _Frame(static)
            if not frame.add(_nanoseconds(transform.header.stamp), parent, _Pose(pose.xyz, pose.xyzw / length), self._keep_ns):
                get_logger("tf2_buffer").warning(f"ignoring transform [{parent}] -> [{child}] from {authority}: older than the buffer keeps")
            self._changed.notify_all()

    def lookup_transform(self, target_frame: str, source_frame: str, time: Time, timeout: Duration = Duration()) -> TransformStamped:  # noqa: B008
        """T_target_source at `time`; time 0 is the newest at which all moving frames between the two are known.

        Waits up to `timeout` of wall time. Raises LookupException, ConnectivityException, ExtrapolationException or InvalidArgumentException.
        """
        stamp_ns = _nanoseconds(time)
        with self._changed:
            if timeout.nanoseconds > 0:
                self._changed.wait_for(lambda: self._failure(target_frame, source_frame, stamp_ns) is None, timeout.nanoseconds / 1e9)
            at_ns, pose = self._lookup(target_frame, source_frame, stamp_ns)
        result = TransformStamped()
        result.header.frame_id, result.child_frame_id = target_frame, source_frame
        result.header.stamp = Time(nanoseconds=at_ns).to_msg()
        t, r = result.transform.translation, result.transform.rotation
        t.x, t.y, t.z = pose.xyz.tolist()
        r.x, r.y, r.z, r.w = pose.xyzw.tolist()
        return result

    def can_transform(
        self,
        target_frame: str,
        source_frame: str,
        time: Time,
        timeout: Duration = Duration(),  # noqa: B008
        return_debug_type: bool = False,
    ) -> bool | tuple[bool, str]:
        """Whether `lookup_transform` would give an answer; with `return_debug_type` also why not."""
        stamp_ns = _nanoseconds(time)
        with self._changed:
            if timeout.nanoseconds > 0:
                self._changed.wait_for(lambda: self._failure(target_frame, source_frame, stamp_ns) is None, timeout.nanoseconds / 1e9)
            failure = self._failure(target_frame, source_frame, stamp_ns)
        return (failure is None, str(failure or "")) if return_debug_type else failure is None

    def _failure(self, target: str, source: str, stamp_ns: int) -> TransformException | None:
        try:
            self._lookup(target, source, stamp_ns)
        except TransformException as failure:
            return failure
        return None

    def _lookup(self, target: str, source: str, stamp_ns: int) -> tuple[int, _Pose]:
        for frame in (target, source):
            if not frame or frame.startswith("/"):
                raise InvalidArgumentException(f"got frame {frame!r}, expected a name that is not empty and does not start with '/'")
        if target == source:  # known or not
            newest_ns = self._frames[target].newest_ns() if target in self._frames else None
            return stamp_ns or newest_ns or 0, _IDENTITY
        for frame in (target, source):
            if frame not in self._known:
                raise LookupException(f'"{frame}" passed to lookup_transform does not exist.')
        up, down = self._paths(target, source, stamp_ns)
        if stamp_ns == 0:
            newest = [self._frames[name].newest_ns() for name in (*up, *down)]
            stamp_ns = min((stamp for stamp in newest if stamp is not None), default=0)
        T_top_source = self._compose(down, stamp_ns)
        T_top_target = self._compose(up, stamp_ns)
        return stamp_ns, _multiply(_inverse(T_top_target), T_top_source)

    def _paths(self, target: str, source: str, stamp_ns: int) -> tuple[list[str], list[str]]:
        """The frames from the target, and from the source, up to below their first common ancestor."""
        lines = [self._ancestors(target, stamp_ns), self._ancestors(source, stamp_ns)]
        common = next((name for name in lines[0] if name in lines[1]), None)
        cleared = next((line[-1] for line in lines if line[-1] in self._frames), None)
        if common is None and cleared is not None and stamp_ns != 0:
            raise ExtrapolationException(f"frame [{cleared}] has no transform at {stamp_ns / 1e9:.6f}: the buffer was cleared")
        if common is None:
            raise ConnectivityException(f"Could not find a connection between '{target}' and '{source}' because they are not part of the same tree.")
        return lines[0][: lines[0].index(common)], lines[1][: lines[1].index(common)]

    def _ancestors(self, frame: str, stamp_ns: int) -> list[str]:
        line = [frame]
        while line[-1] in self._frames:
            child = self._frames[line[-1]]
            if not child.poses:  # cleared
                break
            parent = child.parent_at(stamp_ns)
            if parent in line:
                raise LookupException(f"the transform tree contains a loop: {' -> '.join([*line, parent])}")
            line.append(parent)
        return line

    def _compose(self, names: list[str], stamp_ns: int) -> _Pose:
        pose = _IDENTITY
        for name in names:
            pose = _multiply(self._frames[name].pose_at(stamp_ns, name), pose)
        return pose


def _nanoseconds(time: Any) -> int:
    return int(time.nanoseconds if hasattr(time, "nanoseconds") else Time.from_msg(time).nanoseconds)


def _fault(parent: str, child: str, pose: _Pose, length: float) -> str:
    if not parent or not child:
        return "a frame name is empty"
    if parent == child:
        return "a frame cannot be its own parent"
    if not (np.isfinite(pose.xyz).all() and np.isfinite(pose.xyzw).all()):
        return "it contains a value that is not finite"
    if length == 0.0:
        return "its quaternion is zero"
    return ""


def _quaternion_product(a: F64, b: F64) -> F64:
    xyz = a[3] * b[:3] + b[3] * a[:3] + np.cross(a[:3], b[:3])
    return np.append(xyz, a[3] * b[3] - a[:3] @ b[:3])


def _rotate(xyzw: F64, xyz: F64) -> F64:
    twice = 2.0 * np.cross(xyzw[:3], xyz)
    rotated: F64 = xyz + xyzw[3] * twice + np.cross(xyzw[:3], twice)
    return rotated


def _multiply(a: _Pose, b: _Pose) -> _Pose:
    return _Pose(a.xyz + _rotate(a.xyzw, b.xyz), _quaternion_product(a.xyzw, b.xyzw))


def _inverse(a: _Pose) -> _Pose:
    back = a.xyzw * np.array([-1.0, -1.0, -1.0, 1.0])
    return _Pose(-_rotate(back, a.xyz), back)


def _between(a: _Pose, b: _Pose, share: float) -> _Pose:
    """Straight in position, along the shorter great circle in rotation."""
    cosine = float(a.xyzw @ b.xyzw)
    target = b.xyzw if cosine >= 0 else -b.xyzw
    angle = float(np.arccos(min(1.0, abs(cosine))))
    xyzw = a.xyzw if angle < 1e-9 else (np.sin((1 - share) * angle) * a.xyzw + np.sin(share * angle) * target) / np.sin(angle)
    return _Pose((1 - share) * a.xyz + share * b.xyz, xyzw)
