"""Which camera took the picture, and which camera the model was trained with.

`CameraModel` is a real camera: CameraInfo or a ROS calibration YAML, with where it is mounted. `CanonicalCamera` is the view the model expects.

Mounting: `T_ego_camera` takes optical camera axes (x right, y down, z forward) to the ego frame (x forward, y left, z up). Roll, pitch and yaw
are those of the camera's body (x forward) in the ego frame after REP-103: R = Rz(yaw)·Ry(pitch)·Rx(roll), so that a positive pitch looks down and a
positive yaw looks left. Heights count from the ego origin; where that is the axle rather than the ground, so do they.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from transforms3d.euler import euler2mat, mat2euler

from vavam_ros.core.camera.lens import Lens, checked_distortion
from vavam_ros.core.contracts import F64, CameraError
from vavam_ros.core.geometry import pose_matrix

R_BODY_OPTICAL: F64 = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # REP-103 suffix _optical


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """Where a camera sits in the ego frame, as people write it down."""

    x_m: float = 0.0
    y_m: float = 0.0
    z_m: float
    roll_rad: float = 0.0
    pitch_rad: float = 0.0
    yaw_rad: float = 0.0

    @property
    def T_ego_camera(self) -> F64:
        """(4, 4), optical camera axes to ego."""
        T = np.eye(4)
        T[:3, :3] = euler2mat(self.roll_rad, self.pitch_rad, self.yaw_rad, "sxyz") @ R_BODY_OPTICAL
        T[:3, 3] = self.x_m, self.y_m, self.z_m
        return T

    @classmethod
    def from_matrix(cls, T_ego_camera: F64) -> Mount:
        """Inverse of `T_ego_camera`."""
        roll, pitch, yaw = mat2euler(T_ego_camera[:3, :3] @ R_BODY_OPTICAL.T, "sxyz")
        x, y, z = (float(v) for v in T_ego_camera[:3, 3])
        return cls(x_m=x, y_m=y, z_m=z, roll_rad=float(roll), pitch_rad=float(pitch), yaw_rad=float(yaw))


def mount_from_dict(d: Mapping[str, Any], owner: str = "mount") -> F64:
    """A `mount:` block → T_ego_camera. Keys x_m, y_m, z_m and either roll_rad, pitch_rad, yaw_rad (of the body) or `optical_quat_xyzw`, the
    rotation of the optical frame as TF gives it. Only z_m is required. Raises CameraError on unknown keys and values that are no numbers."""
    d = dict(d)
    quaternion = d.pop("optical_quat_xyzw", None)
    unknown = set(d) - {f.name for f in fields(Mount)}
    if unknown or "z_m" not in d:
        raise CameraError(
            f"{owner}: unknown keys {sorted(unknown)}, z_m {'present' if 'z_m' in d else 'missing'}; expected x_m, y_m, z_m, roll_rad, pitch_rad, yaw_rad"
        )
    try:
        mount = Mount(**{k: float(v) for k, v in d.items()})
        if quaternion is None:
            return checked_mount(mount.T_ego_camera, owner)
        if {"roll_rad", "pitch_rad", "yaw_rad"} & set(d):
            raise CameraError(f"{owner}: gives both optical_quat_xyzw and roll/pitch/yaw; keep one of them")
        xyzw = np.array([float(q) for q in quaternion])
    except (TypeError, ValueError) as e:
        raise CameraError(f"{owner}: values must be numbers: {e}") from e
    if xyzw.shape != (4,) or not abs(np.linalg.norm(xyzw) - 1) < 1e-3:
        raise CameraError(f"{owner}.optical_quat_xyzw: got {xyzw.tolist()}, expected four numbers of norm 1")
    return checked_mount(pose_matrix(np.array([mount.x_m, mount.y_m, mount.z_m]), xyzw / np.linalg.norm(xyzw)), owner)


def checked_mount(T_ego_camera: F64, owner: str = "mount") -> F64:
    """The same matrix, or CameraError when it is not a finite rigid transform (4, 4)."""
    T = np.asarray(T_ego_camera, np.float64)
    if T.shape != (4, 4) or not np.isfinite(T).all():
        raise CameraError(f"{owner}: got {T.tolist()}, expected a finite (4, 4) transform from camera to ego")
    R = T[:3, :3]
    if abs(R @ R.T - np.eye(3)).max() > 1e-3 or np.linalg.det(R) < 0 or abs(T[3] - [0, 0, 0, 1]).max() > 1e-9:
        raise CameraError(f"{owner}: {R.tolist()} is not a rotation")
    return T


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MountChoice:
    """The mounting in use and where it comes from."""

    T_ego_camera: F64
    source: Literal["parameter", "tf", "yaml"]


def choose_mount(*, parameter: F64 | None = None, tf: F64 | None = None, yaml: F64 | None = None) -> MountChoice | None:
    """First of: what the user set as a parameter, what TF says, what the camera's file says. Each (4, 4) T_ego_camera; None without any."""
    if parameter is not None:
        return MountChoice(T_ego_camera=checked_mount(parameter, "camera mount parameter"), source="parameter")
    if tf is not None:
        return MountChoice(T_ego_camera=checked_mount(tf, "camera mount from TF"), source="tf")
    if yaml is not None:
        return MountChoice(T_ego_camera=checked_mount(yaml, "camera mount in the camera YAML"), source="yaml")
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Roi:
    """Part of the sensor that was read out, in unbinned pixels. Width or height 0: to the edge (CameraInfo's convention for "all")."""

    x: int = 0
    y: int = 0
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CameraModel:
    """A calibrated camera. `width`, `height`, `K` and `roi` are those of the full sensor; `image_hw` and `lens` those of its pictures (REP-104)."""

    name: str
    width: int
    height: int
    K: F64  # (3, 3)
    distortion_model: str = "none"
    D: F64 = field(default_factory=lambda: np.zeros(0))
    T_ego_camera: F64 | None = None  # (4, 4); None: not known
    frame_id: str = ""
    binning: tuple[int, int] = (1, 1)
    roi: Roi = Roi()

    def __post_init__(self) -> None:
        owner = f"camera {self.name!r}"
        K = np.asarray(self.K, np.float64)
        if K.size != 9 or not np.isfinite(K).all():
            raise CameraError(f"{owner}: got K {K.tolist()}, expected nine finite numbers")
        K = K.reshape(3, 3)
        if not K.any() or K[0, 0] == 0:
            raise CameraError(f"{owner} is uncalibrated: K[0] is 0. Calibrate it (camera_calibration), give a camera YAML, or choose camera_mode: resize")
        if K[0, 0] < 0 or K[1, 1] <= 0 or abs(K[2] - [0, 0, 1]).max() > 1e-9 or K[1, 0]:
            raise CameraError(f"{owner}: got K {K.tolist()}, expected fx, fy > 0, row two (0, fy, cy) and last row (0, 0, 1)")
        if self.width <= 0 or self.height <= 0:
            raise CameraError(f"{owner}: got size {self.width}×{self.height}, expected that of the full sensor; the CameraInfo publisher leaves it empty")
        bx, by = (b or 1 for b in self.binning)
        r = self.roi
        roi = Roi(x=r.x, y=r.y, width=r.width or self.width - r.x, height=r.height or self.height - r.y)
        if bx < 1 or by < 1 or min(roi.x, roi.y) < 0 or min(roi.width, roi.height) < 1 or roi.x + roi.width > self.width or roi.y + roi.height > self.height:
            raise CameraError(f"{owner}: binning {self.binning} and {roi} do not fit a sensor of {self.width}×{self.height}")
        model, D = checked_distortion(self.distortion_model, self.D, owner)
        mount = None if self.T_ego_camera is None else checked_mount(self.T_ego_camera, f"{owner} mount")
        for name, value in (("K", K), ("distortion_model", model), ("D", D), ("T_ego_camera", mount), ("binning", (bx, by)), ("roi", roi)):
            object.__setattr__(self, name, value)

    @classmethod
    def from_camera_info_fields(
        cls,
        *,
        width: int,
        height: int,
        distortion_model: str,
        d: Sequence[float] | F64,
        k: Sequence[float] | F64,
        r: Sequence[float] | F64 | None = None,
        p: Sequence[float] | F64 | None = None,
        binning_x: int = 0,
        binning_y: int = 0,
        roi: Roi = Roi(),
        frame_id: str = "",
        name: str = "",
        T_ego_camera: F64 | None = None,
        rectified: bool = False,
    ) -> CameraModel:
        """The fields of a sensor_msgs/CameraInfo. `rectified` says that the pictures are image_rect ones: P and R hold instead of K and D, which
        the message itself cannot tell. Raises CameraError for an uncalibrated or contradictory CameraInfo."""
        name = name or frame_id or "camera_info"
        common: dict[str, Any] = {"name": name, "width": width, "height": height, "frame_id": frame_id, "binning": (binning_x, binning_y), "roi": roi}
        if not rectified:
            return cls(K=np.asarray(k, np.float64), distortion_model=distortion_model, D=np.asarray(d, np.float64), T_ego_camera=T_ego_camera, **common)
        P, R = np.asarray(p if p is not None else [], np.float64), np.asarray(r if r is not None else np.eye(3), np.float64)
        if P.size != 12 or R.size != 9:
            raise CameraError(f"camera {name!r}: rectified pictures need P (12 numbers) and R (9), got {P.size} and {R.size}")
        camera = cls(K=P.reshape(3, 4)[:, :3], T_ego_camera=T_ego_camera, **common)
        R = R.reshape(3, 3)
        if camera.T_ego_camera is None or not R.any():  # an all-zero R is an unfilled one
            return camera
        T_camera_rectified = np.eye(4)
        T_camera_rectified[:3, :3] = R.T  # R takes camera axes to rectified ones
        return replace(camera, T_ego_camera=camera.T_ego_camera @ T_camera_rectified)

    @classmethod
    def from_yaml(cls, path: str | Path) -> CameraModel:
        """A ROS calibration file (camera_calibration_parsers layout) with an optional `mount:` block (`mount_from_dict`). Raises CameraError."""
        try:
            d = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
            raise CameraError(f"camera file {path}: cannot be read: {e}") from e
        if not isinstance(d, dict):
            raise CameraError(f"camera file {path}: got {type(d).__name__}, expected the keys of a ROS calibration file (image_width, camera_matrix, …)")
        try:
            name = str(d.get("camera_name") or Path(path).stem)
            distortion = d.get("distortion_coefficients") or {"data": []}
            return cls(
                name=name,
                width=int(d["image_width"]),
                height=int(d["image_height"]),
                K=np.array([float(v) for v in d["camera_matrix"]["data"]]),
                distortion_model=str(d.get("distortion_model") or ""),
                D=np.array([float(v) for v in distortion["data"]]),
                T_ego_camera=mount_from_dict(d["mount"], f"camera file {path}, mount") if d.get("mount") else None,
                frame_id=str(d.get("frame_id") or ""),
            )
        except KeyError as e:
            raise CameraError(f"camera file {path}: lacks the key {e}; expected the layout of camera_calibration_parsers") from e
        except (TypeError, ValueError) as e:
            raise CameraError(f"camera file {path}: {e}; expected the layout of camera_calibration_parsers") from e

    @property
    def image_hw(self) -> tuple[int, int]:
        """Height and width of its pictures."""
        return self.roi.height // self.binning[1], self.roi.width // self.binning[0]

    @property
    def lens(self) -> Lens:
        """Intrinsics of its pictures: the region of interest moves the principal point, binning scales."""
        K = self.K.copy()
        K[:2, 2] -= self.roi.x, self.roi.y
        # Binning averages pixels, so the centre of the first binned pixel lies between sensor pixels; image_geometry leaves this half pixel out
        return Lens(K=K, distortion_model=self.distortion_model, D=self.D).resized(1 / self.binning[0], 1 / self.binning[1])

    def mounted(self, T_ego_camera: F64 | None) -> CameraModel:
        """The same camera mounted elsewhere."""
        return replace(self, T_ego_camera=T_ego_camera)

    def same_as(self, other: CameraModel | None, *, px: float = 1e-3, rad: float = 1e-4, m: float = 1e-3) -> bool:
        """Whether pictures of both need the same transform: sizes equal, intrinsics within `px`, mounting within `rad` and `m`."""
        if other is None or (self.width, self.height, self.binning, self.roi) != (other.width, other.height, other.binning, other.roi):
            return False
        if self.distortion_model != other.distortion_model or abs(self.K - other.K).max() > px or np.any(abs(self.D - other.D) > 1e-7):
            return False
        a, b = self.T_ego_camera, other.T_ego_camera
        if a is None or b is None:
            return a is b
        return bool(abs(a[:3, :3] - b[:3, :3]).max() <= rad and abs(a[:3, 3] - b[:3, 3]).max() <= m)


@dataclass(frozen=True, slots=True, kw_only=True)
class CanonicalCamera:
    """The camera whose pictures a model was trained on: its native size, intrinsics, distortion (none unless given) and mounting."""

    name: str
    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    mount: Mount
    distortion_model: str = "none"
    d: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.name:
            raise CameraError("canonical camera: got an empty name; it is what token frames are labelled with")
        self.model()  # checks the rest

    def model(self) -> CameraModel:
        """The canonical camera as a real one."""
        K = np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1.0]])
        return CameraModel(
            name=self.name,
            width=self.width,
            height=self.height,
            K=K,
            distortion_model=self.distortion_model,
            D=np.array(self.d, np.float64),
            T_ego_camera=self.mount.T_ego_camera,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain types for YAML; the distortion only where there is one."""
        d = asdict(self) | {"d": list(self.d)}
        if self.distortion_model == "none":
            del d["distortion_model"], d["d"]
        return d

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> CanonicalCamera:
        """Inverse of `to_dict`; the two distortion keys may be absent. Raises CameraError on other missing or unknown keys."""
        d = dict(d)
        required = {"name", "width", "height", "fx", "fy", "cx", "cy", "mount"}
        if required - set(d) or set(d) - required - {"distortion_model", "d"}:
            raise CameraError(f"canonical camera: missing keys {sorted(required - set(d))}, unknown {sorted(set(d) - required - {'distortion_model', 'd'})}")
        try:
            floats = {k: float(d[k]) for k in ("fx", "fy", "cx", "cy")}
            mount = Mount(**{str(k): float(v) for k, v in dict(d["mount"]).items()})
            distortion = {"distortion_model": str(d.get("distortion_model", "none")), "d": tuple(float(v) for v in d.get("d", ()))}
            return cls(name=str(d["name"]), width=int(d["width"]), height=int(d["height"]), mount=mount, **floats, **distortion)  # type: ignore[arg-type]
        except (TypeError, ValueError) as e:
            raise CameraError(f"canonical camera {d['name']!r}: {e}") from e


# Each figure is one car's calibration as its data set publishes it; other cars of the same data set differ by a few pixels and up to about half a degree.
CANONICAL_CAMERAS: dict[str, CanonicalCamera] = {
    camera.name: camera
    for camera in (
        # nuScenes v1.0, table calibrated_sensor, CAM_FRONT: intrinsics 1266.417203046554, 816.2670197447984, 491.50706579294757; translation
        # (1.7008, 0.0159, 1.5110); its rotation is 0.05°, 0.32°, 0.33° (roll, pitch, yaw) off a level camera, the spread of assembly, hence level here.
        CanonicalCamera(name="nuscenes_cam_front", width=1600, height=900, fx=1266.417, fy=1266.417, cx=816.267, cy=491.507, mount=Mount(x_m=1.70, z_m=1.51)),
        # nuPlan, table camera, CAM_F0: intrinsics 1545, 960, 560; distortion in the order k1 k2 p1 p2 k3 (its pictures are not rectified, and the model
        # was trained on them as they are); translation (1.655, −0.012, 1.491), 1.3° down.
        CanonicalCamera(
            name="nuplan_cam_f0",
            width=1920,
            height=1080,
            fx=1545.0,
            fy=1545.0,
            cx=960.0,
            cy=560.0,
            mount=Mount(x_m=1.66, z_m=1.49, pitch_rad=0.0228),
            distortion_model="plumb_bob",
            d=(-0.356123, 0.172545, -0.00213, 0.000464, -0.05231),
        ),
        # The world's own camera: 80° across in pictures as small as the small model's; its mounting is nuScenes'.
        CanonicalCamera(name="world_front_256", width=256, height=144, fx=152.54446, fy=152.54446, cx=128.0, cy=72.0, mount=Mount(x_m=1.70, z_m=1.51)),
        # The drawn road clips: an ideal camera of 64° with the CARLA bridge's CameraInfo convention (fx = W / (2 tan(fov / 2)), cx = W / 2).
        CanonicalCamera(name="world_front", width=512, height=288, fx=409.68564, fy=409.68564, cx=256.0, cy=144.0, mount=Mount(x_m=1.5, z_m=1.5)),
    )
}
