"""World state → the bridge's messages.

Everything is right-handed (REP 103). The pose is that of the vehicle's origin, `Vehicle.actor_origin_x_m` ahead of the rear axle, in `map`; the ground
is z = 0, and so is the origin. Quaternions are of yaw alone.
"""

from __future__ import annotations

import math
from array import array

import cv2
import numpy as np
from carla_msgs.msg import CarlaEgoVehicleControl, CarlaEgoVehicleInfo, CarlaEgoVehicleInfoWheel, CarlaEgoVehicleStatus, CarlaStatus, CarlaWorldInfo
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion, Transform, TransformStamped, Twist, Vector3
from nav_msgs.msg import Odometry, Path
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Float32
from tf2_msgs.msg import TFMessage

from vavam_ros.core.contracts import F64
from vavam_ros.core.geometry import planar_T, to_xyz_quat_xyzw
from vavam_world.bridge.objects import CameraObject
from vavam_world.bridge.stamps import header_msg, time_msg
from vavam_world.contracts import MAP_FRAME, TICK_S, U8, Control, EgoState, MapSpec, Route, Vehicle, WorldState

EGO_ID = 1
TRACK_MARGIN_M = 0.3  # the wheels' centre lines lie this much inside the vehicle's width, both sides together
MASS_KG = 1500.0
JPEG_QUALITY = 90
# A camera's body axes (x forward, y left, z up) in terms of its optical ones (x right, y down, z forward).
BODY_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


# ── clock and world ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def clock(stamp_ns: int) -> Clock:
    """rosgraph_msgs/Clock."""
    return Clock(clock=time_msg(stamp_ns))


def status(frame: int, *, synchronous: bool, running: bool) -> CarlaStatus:
    """`frame`: number of the tick. Asynchronous: `running` is true always."""
    return CarlaStatus(frame=frame, fixed_delta_seconds=TICK_S, synchronous_mode=synchronous, synchronous_mode_running=running)


def world_info(spec: MapSpec) -> CarlaWorldInfo:
    """Names the map. There is no OpenDRIVE of it: the field is empty."""
    return CarlaWorldInfo(map_name=f"vavam_world/{spec.kind}_{spec.lanes}_{spec.seed}", opendrive="")


def waypoints(route: Route, stamp_ns: int) -> Path:
    """The route as carla_waypoint_publisher has it: 1 m apart, in map, the poses' own headers empty."""
    path = Path(header=header_msg(stamp_ns, MAP_FRAME))
    for (x, y), yaw in zip(route.xy_m.tolist(), route.yaw_rad.tolist(), strict=True):
        path.poses.append(PoseStamped(pose=Pose(position=Point(x=x, y=y, z=0.0), orientation=_yaw(yaw))))
    return path


# ── vehicle ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def odometry(state: WorldState, vehicle: Vehicle, role: str) -> Odometry:
    """Pose of the vehicle's origin; the twist is that of the same point, along the vehicle's own axes. Covariances are 0 throughout."""
    ego = state.ego
    msg = Odometry(header=header_msg(state.stamp_ns, MAP_FRAME), child_frame_id=role)
    x, y = ego.ahead(vehicle.actor_origin_x_m)
    msg.pose.pose = Pose(position=Point(x=x, y=y, z=0.0), orientation=_yaw(ego.yaw_rad))
    lateral = ego.yaw_rate_radps * vehicle.actor_origin_x_m
    msg.twist.twist = Twist(linear=Vector3(x=ego.speed_mps, y=lateral, z=0.0), angular=Vector3(x=0.0, y=0.0, z=ego.yaw_rate_radps))
    return msg


def speedometer(state: WorldState) -> Float32:
    """m/s along the heading, negative backwards."""
    return Float32(data=state.ego.speed_mps)


def vehicle_tf(state: WorldState, vehicle: Vehicle, role: str) -> TFMessage:
    """map → role."""
    x, y = state.ego.ahead(vehicle.actor_origin_x_m)
    transform = Transform(translation=Vector3(x=x, y=y, z=0.0), rotation=_yaw(state.ego.yaw_rad))
    return TFMessage(transforms=[TransformStamped(header=header_msg(state.stamp_ns, MAP_FRAME), child_frame_id=role, transform=transform)])


def control_msg(control: Control, stamp_ns: int) -> CarlaEgoVehicleControl:
    """Control → message."""
    return CarlaEgoVehicleControl(
        header=header_msg(stamp_ns, MAP_FRAME),
        throttle=control.throttle,
        steer=control.steer,
        brake=control.brake,
        hand_brake=control.hand_brake,
        reverse=control.reverse,
        gear=-1 if control.reverse else 1,
    )


def vehicle_status(state: WorldState, vehicle: Vehicle) -> CarlaEgoVehicleStatus:
    """Speed (magnitude) and acceleration (along the axes of map, without that of the turn itself) of the vehicle's origin; the control in effect.

    The control's own header is empty, as the bridge leaves it."""
    ego, lever = state.ego, vehicle.actor_origin_x_m
    ahead, left = ego.accel_mps2 - ego.yaw_rate_radps**2 * lever, ego.speed_mps * ego.yaw_rate_radps
    cos, sin = math.cos(ego.yaw_rad), math.sin(ego.yaw_rad)
    msg = CarlaEgoVehicleStatus(header=header_msg(state.stamp_ns, MAP_FRAME))
    msg.velocity = math.hypot(ego.speed_mps, ego.yaw_rate_radps * lever)
    msg.acceleration.linear = Vector3(x=cos * ahead - sin * left, y=sin * ahead + cos * left, z=0.0)
    msg.orientation = _yaw(ego.yaw_rad)
    msg.control = control_msg(ego.control, 0)
    msg.control.header.frame_id = ""
    return msg


def vehicle_info(vehicle: Vehicle, role: str, vehicle_type: str) -> CarlaEgoVehicleInfo:
    """Wheels in the order front left, front right, rear left, rear right; positions are from the vehicle's origin, x forward, y left.

    So the rear axle lies at the mean x of the wheels that do not steer, and the wheelbase is the difference to the mean x of those that do."""
    info = CarlaEgoVehicleInfo(id=EGO_ID, type=vehicle_type, rolename=role, mass=MASS_KG, use_gear_autobox=True)
    half_track = 0.5 * (vehicle.width_m - TRACK_MARGIN_M)
    rear_x = -vehicle.actor_origin_x_m
    for x, steers in ((rear_x + vehicle.wheelbase_m, True), (rear_x, False)):
        for y in (half_track, -half_track):
            position = Vector3(x=x, y=y, z=vehicle.wheel_radius_m)
            info.wheels.append(
                CarlaEgoVehicleInfoWheel(max_steer_angle=vehicle.max_steer_rad if steers else 0.0, radius=vehicle.wheel_radius_m, position=position)
            )
    info.center_of_mass = Vector3(x=rear_x + 0.5 * vehicle.wheelbase_m, y=0.0, z=0.5)
    return info


# ── cameras ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def camera_frame(role: str, camera: CameraObject) -> str:
    """Frame of the picture, optical (z forward)."""
    return f"{role}/{camera.id}"


def camera_info(camera: CameraObject, role: str, stamp_ns: int) -> CameraInfo:
    """An ideal camera: fx = fy = width / (2 tan(fov/2)), centre at half the size, no distortion."""
    spec = camera.spec
    k = [spec.fx, 0.0, spec.cx, 0.0, spec.fy, spec.cy, 0.0, 0.0, 1.0]
    p = [spec.fx, 0.0, spec.cx, 0.0, 0.0, spec.fy, spec.cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return CameraInfo(
        header=header_msg(stamp_ns, camera_frame(role, camera)),
        width=spec.width,
        height=spec.height,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=k,
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=p,
    )


def camera_tf(camera: CameraObject, role: str, state: WorldState, vehicle: Vehicle, *, synchronous: bool) -> TFMessage:
    """role → role/camera in synchronous mode; map → role/camera in asynchronous mode. The child is optical."""
    mount = _mount(camera)
    x, y = state.ego.ahead(vehicle.actor_origin_x_m)
    T = mount if synchronous else planar_T(x, y, state.ego.yaw_rad) @ mount
    xyz, q = to_xyz_quat_xyzw(T)
    transform = Transform(
        translation=Vector3(x=float(xyz[0]), y=float(xyz[1]), z=float(xyz[2])),
        rotation=Quaternion(x=float(q[0]), y=float(q[1]), z=float(q[2]), w=float(q[3])),
    )
    header = header_msg(state.stamp_ns, role if synchronous else MAP_FRAME)
    return TFMessage(transforms=[TransformStamped(header=header, child_frame_id=camera_frame(role, camera), transform=transform)])


def image(rgb: U8, camera: CameraObject, role: str, stamp_ns: int) -> Image:
    """(H, W, 3) RGB → bgra8 with an opaque last channel."""
    bgra = np.ascontiguousarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA))
    data = array("B")
    data.frombytes(bgra.data.cast("B"))  # an array is what the generated setter takes without a look at each byte
    height, width = rgb.shape[:2]
    header = header_msg(stamp_ns, camera_frame(role, camera))
    return Image(header=header, height=height, width=width, encoding="bgra8", is_bigendian=0, step=4 * width, data=data)


def compressed_image(rgb: U8, camera: CameraObject, role: str, stamp_ns: int) -> CompressedImage:
    """(H, W, 3) RGB → JPEG, in image_transport's naming."""
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    data = array("B")
    data.frombytes(np.ascontiguousarray(jpeg).data.cast("B"))
    return CompressedImage(header=header_msg(stamp_ns, camera_frame(role, camera)), format="bgra8; jpeg compressed bgr8", data=data)


# ── in ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def control_of(msg: CarlaEgoVehicleControl) -> Control | None:
    """Message → Control, clipped to its ranges as CARLA does it; None for NaN, which CARLA would take in and never lose again."""
    values = (msg.throttle, msg.brake, msg.steer)
    if not all(math.isfinite(v) for v in values):
        return None
    return Control(
        throttle=min(max(msg.throttle, 0.0), 1.0),
        brake=min(max(msg.brake, 0.0), 1.0),
        steer=min(max(msg.steer, -1.0), 1.0),
        hand_brake=bool(msg.hand_brake),
        reverse=bool(msg.reverse or (msg.manual_gear_shift and msg.gear < 0)),
    )


def origin_of(ego: EgoState, vehicle: Vehicle) -> tuple[float, float, float]:
    """x, y, yaw of the vehicle's origin in map."""
    return (*ego.ahead(vehicle.actor_origin_x_m), ego.yaw_rad)


def _mount(camera: CameraObject) -> F64:
    """(4, 4): points of the optical camera frame to the vehicle's origin."""
    roll, pitch, yaw = camera.rpy_rad
    (sr, cr), (sp, cp), (sy, cy) = ((math.sin(a), math.cos(a)) for a in (roll, pitch, yaw))
    T = np.eye(4)
    T[:3, :3] = (
        np.array([[cy, -sy, 0.0], [sy, cy, 0.0], [0.0, 0.0, 1.0]])
        @ np.array([[cp, 0.0, sp], [0.0, 1.0, 0.0], [-sp, 0.0, cp]])
        @ np.array([[1.0, 0.0, 0.0], [0.0, cr, -sr], [0.0, sr, cr]])
        @ BODY_FROM_OPTICAL
    )
    T[:3, 3] = camera.xyz_m
    return T


def _yaw(yaw_rad: float) -> Quaternion:
    return Quaternion(x=0.0, y=0.0, z=math.sin(0.5 * yaw_rad), w=math.cos(0.5 * yaw_rad))
