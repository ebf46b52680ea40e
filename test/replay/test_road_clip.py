"""The drawn drive: the same pixels for a seed, motion that agrees with itself, and a picture whose geometry is that of the camera given."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vavam_ros.core.camera import Mount
from vavam_ros.core.contracts import NS_PER_S, ConfigError
from vavam_ros.replay.road_clip import LANE_M, RoadClip, RoadClipConfig


def test_deterministic_by_seed() -> None:
    a, b, c = (RoadClip(RoadClipConfig(duration_s=2.0, seed=s)) for s in (3, 3, 4))
    stamp_ns = a.image_stamps()[7]
    np.testing.assert_array_equal(a.picture(stamp_ns), b.picture(stamp_ns))
    assert (a.picture(stamp_ns) != c.picture(stamp_ns)).any()
    assert (a.picture(stamp_ns) != a.picture(a.image_stamps()[8])).any()


def test_twist_is_the_derivative_of_the_pose() -> None:
    clip = RoadClip(RoadClipConfig(odometry_rate_hz=1000.0, duration_s=12.0))
    samples = list(clip.odometry())
    xy = np.array([s.T_odom_base[:2, 3] for s in samples])
    yaw = np.array([np.arctan2(s.T_odom_base[1, 0], s.T_odom_base[0, 0]) for s in samples])
    velocity = (xy[2:] - xy[:-2]) / 0.002
    speed, rate = np.array([s.linear_mps[0] for s in samples])[1:-1], np.array([s.angular_radps[2] for s in samples])[1:-1]
    np.testing.assert_allclose(np.linalg.norm(velocity, axis=1), speed, atol=1e-3)
    np.testing.assert_allclose(np.arctan2(velocity[:, 1], velocity[:, 0]), yaw[1:-1], atol=1e-3)  # no side slip
    np.testing.assert_allclose((yaw[2:] - yaw[:-2]) / 0.002, rate, atol=1e-3)
    assert np.ptp(yaw) > 0.3  # it does curve
    assert np.ptp(speed) > 2.0


@pytest.mark.parametrize("pitch_rad", [0.0, 0.05])
def test_edge_line_lies_where_the_camera_would_see_it(pitch_rad: float) -> None:
    """On a straight road the right edge line is at y = −LANE/2 in the ego frame; the picture is bright there and not beside it."""
    K = np.array([[700.0, 0, 300.0], [0, 650.0, 200.0], [0, 0, 1]])
    config = RoadClipConfig(K=K, curve_m=0.0, T_base_camera=Mount(x_m=1.0, y_m=0.3, z_m=1.6, pitch_rad=pitch_rad, yaw_rad=0.03).T_ego_camera, duration_s=1.0)
    clip = RoadClip(config)
    picture = clip.picture(clip.image_stamps()[0])
    T = np.linalg.inv(config.T_base_camera)

    def brightness(y_m: float, x_m: float) -> float:
        optical = T[:3, :3] @ np.array([x_m, y_m, 0.0]) + T[:3, 3]
        u, v, _ = K @ (optical / optical[2])
        return float(picture[round(v), round(u)].astype(float).mean())

    for x_m in (8.0, 11.0):
        assert brightness(-0.5 * LANE_M, x_m) > 190
        assert brightness(-0.5 * LANE_M + 0.4, x_m) < 150


def test_distortion_moves_pixels_as_opencv_says() -> None:
    D = (-0.2, 0.05, 0.0, 0.0, 0.0)
    straight, bent = RoadClip(RoadClipConfig(duration_s=1.0)), RoadClip(RoadClipConfig(duration_s=1.0, D=D))
    stamp_ns = straight.image_stamps()[3]
    undistorted = cv2.undistort(bent.picture(stamp_ns), bent.config.K, np.array(D))
    a, b = (p[200:340, 120:520].astype(float) for p in (undistorted, straight.picture(stamp_ns)))
    plain = bent.picture(stamp_ns)[200:340, 120:520].astype(float)
    assert np.abs(a - b).mean() < 0.5 * np.abs(plain - b).mean()


def test_stamps_and_refusals() -> None:
    clip = RoadClip(RoadClipConfig(duration_s=2.0, image_rate_hz=10.0))
    assert [s - clip.config.start_ns for s in clip.image_stamps()][:3] == [0, NS_PER_S // 10, NS_PER_S // 5]
    assert len(clip.image_stamps()) == 21
    with pytest.raises(ConfigError, match="backwards"):
        RoadClipConfig(speed_mps=1.0, speed_change_mps=2.0)
