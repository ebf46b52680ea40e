"""World state → messages: what the live test cannot see."""

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from vavam_world.bridge import messages
from vavam_world.bridge.objects import default_document, default_objects, parse_objects
from vavam_world.contracts import CameraSpec, Control, EgoState, Vehicle, WorldState

from vavam_ros.core.geometry import shift_origin
from vavam_ros.nodes import convert

VEHICLE = Vehicle()
EGO = EgoState(x_m=10.0, y_m=-4.0, yaw_rad=0.7, speed_mps=6.0, accel_mps2=1.0, yaw_rate_radps=0.3, steer_rad=0.1, control=Control(throttle=0.5, steer=-0.2))
STATE = WorldState(tick=3, stamp_ns=100_150_000_000, ego=EGO, actors=())


def test_shifting_the_origin_back_gives_the_rear_axle() -> None:
    """The nodes' own reading of odometry, with rear_axle_x_m as config/carla.yaml has it, finds the simulation's rear axle and its speed."""
    sample = convert.odometry_sample(messages.odometry(STATE, VEHICLE, "ego_vehicle"))
    pose = shift_origin(sample, -VEHICLE.actor_origin_x_m)
    np.testing.assert_allclose(pose.T_odom_ego, EGO.pose(STATE.stamp_ns).T_odom_ego, atol=1e-12)
    np.testing.assert_allclose(pose.linear_mps, [6.0, 0.0, 0.0], atol=1e-12)
    assert pose.stamp_ns == STATE.stamp_ns


def test_acceleration_is_that_of_the_origin() -> None:
    """Against differences of the velocity along a circle with growing speed."""

    def velocity(t: float) -> np.ndarray:
        yaw, speed = EGO.yaw_rad + EGO.yaw_rate_radps * t, EGO.speed_mps + EGO.accel_mps2 * t
        c, s = math.cos(yaw), math.sin(yaw)
        left = EGO.yaw_rate_radps * VEHICLE.actor_origin_x_m
        return np.array([c * speed - s * left, s * speed + c * left])

    a = messages.vehicle_status(STATE, VEHICLE).acceleration.linear
    np.testing.assert_allclose([a.x, a.y], (velocity(1e-4) - velocity(-1e-4)) / 2e-4, atol=1e-6)


def test_the_mount_in_tf_is_where_the_renderer_has_the_camera() -> None:
    """A point through TF and K lands on the pixel that the renderer's own projection says, for a tilted, turned camera."""
    from vavam_world.render.camera import project

    document = default_document()
    document["objects"][0]["sensors"][0]["spawn_point"] = {"x": 0.4, "y": 0.3, "z": 1.6, "roll": 4.0, "pitch": 7.0, "yaw": -12.0}
    (camera,) = parse_objects(document, VEHICLE).cameras
    flat = replace(EGO)
    (tf,) = messages.camera_tf(camera, "ego_vehicle", STATE, VEHICLE, synchronous=False).transforms
    assert (tf.header.frame_id, tf.child_frame_id) == ("map", "ego_vehicle/front")
    T_map_camera = convert.transform_T(tf)
    x, y = EGO.ahead(18.0)
    points = np.array([[x, y, 0.0], [x + 1.0, y - 3.0, 2.0], [x - 2.0, y + 1.0, 1.0]])
    optical = (np.linalg.inv(T_map_camera) @ np.column_stack([points, np.ones(3)]).T)[:3]
    pixels = (np.array(messages.camera_info(camera, "ego_vehicle", 1).k).reshape(3, 3) @ optical)
    assert (optical[2] > 0.0).all()
    np.testing.assert_allclose((pixels[:2] / pixels[2]).T, project(camera.spec, flat, points), atol=1e-6)


def test_synchronous_mount_hangs_below_the_vehicle() -> None:
    (camera,) = default_objects().cameras
    (sync,) = messages.camera_tf(camera, "ego_vehicle", STATE, VEHICLE, synchronous=True).transforms
    (anew,) = messages.camera_tf(camera, "ego_vehicle", STATE, VEHICLE, synchronous=False).transforms
    (vehicle,) = messages.vehicle_tf(STATE, VEHICLE, "ego_vehicle").transforms
    assert (sync.header.frame_id, vehicle.header.frame_id, vehicle.child_frame_id) == ("ego_vehicle", "map", "ego_vehicle")
    np.testing.assert_allclose(convert.transform_T(vehicle) @ convert.transform_T(sync), convert.transform_T(anew), atol=1e-12)


def test_camera_info_of_a_fov_camera_and_the_picture_belong_together() -> None:
    spec = CameraSpec.from_fov(64.6, 64, 36, name="front")
    camera = replace(default_objects().cameras[0], spec=spec)
    rgb = np.random.default_rng(0).integers(0, 256, (36, 64, 3), dtype=np.uint8)
    image, info = messages.image(rgb, camera, "hero", 5), messages.camera_info(camera, "hero", 5)
    assert image.header == info.header
    assert info.k[0] == pytest.approx(64 / (2 * math.tan(math.radians(32.3))))
    np.testing.assert_array_equal(convert.camera_image(image).rgb, rgb)


def test_reverse_gear_counts_only_where_it_is_shifted_by_hand() -> None:
    msg = messages.control_msg(Control(throttle=0.5), 7)
    msg.gear = -1
    assert not messages.control_of(msg).reverse  # type: ignore[union-attr]
    msg.manual_gear_shift = True
    assert messages.control_of(msg).reverse  # type: ignore[union-attr]


def test_the_world_starts_without_torch() -> None:
    code = "import sys, vavam_world.bridge.run as r; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
