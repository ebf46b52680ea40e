"""The bridge's facts about pictures, TF and the route, one by one, on the live topics of a single-stepped world."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest
from vavam_world.bridge.stamps import stamp_ns
from vavam_world.contracts import TICK_NS

pytestmark = pytest.mark.ros


def test_image(side: Any) -> None:
    """Image: bgra8, opaque, frame role/camera, 10 Hz, same header as its camera_info, which is published before it."""
    n = len(side.heard["image"])
    side.step(6)
    assert side.until(lambda: len(side.heard["image"]) == n + 3 == len(side.heard["camera_info"]))
    for i in range(n, n + 3):
        image, info = side.heard["image"][i], side.heard["camera_info"][i]
        assert image.header == info.header
        assert image.header.frame_id == "ego_vehicle/front"
        assert side.published_at["camera_info"][i] < side.published_at["image"][i]
        assert (image.encoding, image.width, image.height, image.step) == ("bgra8", 256, 144, 1024)
        assert (info.width, info.height) == (256, 144)
        pixels = np.frombuffer(image.data, np.uint8).reshape(144, 256, 4)
        assert (pixels[..., 3] == 255).all()
        assert pixels[..., :3].std() > 5.0
    stamps = [stamp_ns(m.header) for m in side.heard["image"][n:]]
    assert np.diff(stamps).tolist() == [2 * TICK_NS] * 2
    assert set(stamps) <= {stamp_ns(o.header) for o in side.heard["odometry"]}


def test_camera_info(side: Any) -> None:
    """Camera_info: plumb_bob without distortion, fx = W / (2 tan(fov/2)), centre at W/2, H/2, R = I, P = [K|0]."""
    info = side.last("camera_info")
    fx = 256 / (2.0 * math.tan(80.0 * math.pi / 360.0))
    assert info.distortion_model == "plumb_bob"
    assert list(info.d) == [0.0] * 5
    np.testing.assert_allclose(info.k, [fx, 0, 128, 0, fx, 72, 0, 0, 1])
    np.testing.assert_array_equal(info.r, np.eye(3).ravel())
    np.testing.assert_array_equal(np.array(info.p).reshape(3, 4), np.column_stack([np.array(info.k).reshape(3, 3), np.zeros(3)]))


def test_blue_first(side: Any) -> None:
    """Bgra8 is blue first: the sky of a clear day is bluer than red."""
    image = side.last("image")
    sky = np.frombuffer(image.data, np.uint8).reshape(144, 256, 4)[:15].reshape(-1, 4).mean(axis=0)
    assert sky[0] > sky[2]


def test_compressed(side: Any) -> None:
    """The compressed picture is that of the raw one."""
    assert side.until(lambda: stamp_ns(side.last("compressed").header) == stamp_ns(side.last("image").header))
    jpeg, image = side.last("compressed"), side.last("image")
    bgr = cv2.imdecode(np.frombuffer(jpeg.data, np.uint8), cv2.IMREAD_COLOR)
    raw = np.frombuffer(image.data, np.uint8).reshape(144, 256, 4)[..., :3]
    assert jpeg.header == image.header
    assert "jpeg" in jpeg.format
    assert np.abs(bgr.astype(int) - raw).mean() < 6.0


def test_tf(side: Any) -> None:
    """TF: map → role at the odometry's pose with each step, role → role/camera with each picture, both on /tf."""
    n, images = len(side.heard["tf"]), len(side.heard["image"])
    side.step(4)
    assert side.until(lambda: len(side.heard["tf"]) == n + 6 and len(side.heard["image"]) == images + 2)
    new = [t for m in side.heard["tf"][n:] for t in m.transforms]
    vehicle = [t for t in new if t.child_frame_id == "ego_vehicle"]
    camera = [t for t in new if t.child_frame_id == "ego_vehicle/front"]
    assert [t.header.frame_id for t in vehicle] == ["map"] * 4
    assert [t.header.frame_id for t in camera] == ["ego_vehicle"] * 2
    pose = side.last("odometry").pose.pose
    at = vehicle[-1].transform
    assert (at.translation.x, at.translation.y, at.rotation) == (pose.position.x, pose.position.y, pose.orientation)
    assert {stamp_ns(t.header) for t in camera} == {stamp_ns(i.header) for i in side.heard["image"][images:]}


def test_optical(side: Any) -> None:
    """The camera's frame is optical already: z forward, x to the right; mounted where the objects file says."""
    (camera,) = [t for m in side.heard["tf"][-8:] for t in m.transforms if t.child_frame_id == "ego_vehicle/front"][-1:]
    t, q = camera.transform.translation, camera.transform.rotation
    assert (t.x, t.y, t.z) == pytest.approx((0.30, 0.0, 1.51))
    assert np.abs([q.x, q.y, q.z, q.w]) == pytest.approx([0.5] * 4)
    assert (q.x * q.w, q.y * q.w, q.z * q.w) == pytest.approx((-0.25, 0.25, -0.25))


def test_waypoints(side: Any) -> None:
    """Waypoints: map, about 1 m apart, the poses' own headers empty."""
    path = side.last("waypoints")
    assert path.header.frame_id == "map"
    assert len(path.poses) > 200
    assert {(p.header.frame_id, stamp_ns(p.header)) for p in path.poses} == {("", 0)}
    xy = np.array([(p.pose.position.x, p.pose.position.y) for p in path.poses])
    np.testing.assert_allclose(np.linalg.norm(np.diff(xy, axis=0), axis=1)[:-1], 1.0, atol=0.05)
