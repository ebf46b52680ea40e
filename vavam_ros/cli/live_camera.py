"""A camera and odometry for live nodes to be measured with: pictures at a rate, stamped as they are sent, of the model's own view at any size."""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from vavam_ros.core.camera import CanonicalCamera
from vavam_ros.core.contracts import NS_PER_S, U8

PICTURES = 3  # that take turns: no two alike in a row, or the camera counts as frozen
SPEED_MPS = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSettings:
    """Size [pixels], rate and encoding of the pictures; rate of the odometry beside them."""

    width: int = 1600
    height: int = 900
    rate_hz: float = 30.0
    odometry_hz: float = 100.0
    compressed: bool = False

    @property
    def text(self) -> str:
        """For people."""
        return f"{self.width}×{self.height} {'JPEG' if self.compressed else 'bgr8'} at {self.rate_hz:g} Hz"


def pictures(width: int, height: int) -> list[U8]:
    """(H, W, 3) each: soft shapes with a little noise, so that a JPEG of one is as large as one of a road."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(PICTURES):
        soft = cv2.resize(rng.integers(0, 256, (12, 20, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
        noisy = soft.astype(np.int16) + rng.integers(-6, 7, (height, width, 1), dtype=np.int16)
        made.append(np.clip(noisy, 0, 255).astype(np.uint8))
    return made


class LiveCamera:
    """Publishes until closed, from two threads of its own. `sent` counts pictures."""

    def __init__(
        self,
        node: Any,
        settings: CameraSettings,
        canonical: CanonicalCamera,
        topics: dict[str, str],
        on_sending: Callable[[int], None] = lambda stamp_ns: None,
    ) -> None:
        """`node`: an rclpy node; `topics`: names of image, camera_info and odometry; `on_sending`: told a picture's stamp just before it is published."""
        from nav_msgs.msg import Odometry
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import CameraInfo, CompressedImage, Image

        self._settings, self._on_sending, self.sent = settings, on_sending, 0
        sensor = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._images = node.create_publisher(CompressedImage if settings.compressed else Image, topics["image"], sensor)
        self._infos = node.create_publisher(CameraInfo, topics["camera_info"], 5)
        self._odometry = node.create_publisher(Odometry, topics["odometry"], 50)
        w, h = settings.width, settings.height
        lens = canonical.model().lens.resized(w / canonical.width, h / canonical.height)
        d = [float(v) for v in canonical.d] or [0.0] * 5
        model = canonical.distortion_model if canonical.d else "plumb_bob"
        self._info = CameraInfo(width=w, height=h, distortion_model=model, d=d, k=[float(v) for v in np.asarray(lens.K).ravel()])
        self._messages = []
        for picture in pictures(w, h):
            if settings.compressed:
                data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
                self._messages.append(CompressedImage(format="jpeg", data=array("B", data)))
            else:
                self._messages.append(Image(width=w, height=h, encoding="bgr8", step=3 * w, data=array("B", picture.tobytes())))
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=f, daemon=True) for f in (self._send_images, self._send_odometry)]

    def start(self) -> None:
        """Begin to publish."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop publishing and wait for it."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(5.0)

    def _send_images(self) -> None:
        from std_msgs.msg import Header

        from vavam_ros.nodes.convert import time_msg

        period_s, next_s = 1.0 / self._settings.rate_hz, time.monotonic()
        while not self._stop.wait(max(0.0, next_s - time.monotonic())):
            message = self._messages[self.sent % PICTURES]
            stamp_ns = time.time_ns()
            message.header = self._info.header = Header(stamp=time_msg(stamp_ns), frame_id="camera")
            self._infos.publish(self._info)
            self._on_sending(stamp_ns)
            self._images.publish(message)
            self.sent += 1
            next_s = max(next_s + period_s, time.monotonic())

    def _send_odometry(self) -> None:
        """Straight ahead at a constant speed."""
        from nav_msgs.msg import Odometry
        from std_msgs.msg import Header

        from vavam_ros.nodes.convert import time_msg

        n, hz, start_s, first_ns = 0, self._settings.odometry_hz, time.monotonic(), time.time_ns()
        msg = Odometry(child_frame_id="base_link")
        msg.pose.pose.orientation.w, msg.twist.twist.linear.x = 1.0, SPEED_MPS
        while not self._stop.wait(max(0.0, start_s + n / hz - time.monotonic())):
            msg.header = Header(stamp=time_msg(first_ns + round(n / hz * NS_PER_S)), frame_id="odom")
            msg.pose.pose.position.x = SPEED_MPS * n / hz
            self._odometry.publish(msg)
            n += 1
