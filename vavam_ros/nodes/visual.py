"""Debug outputs: all samples as markers, the selected path drawn on what the model saw. Made only for subscribers.

Shape letters: K samples · H waypoints · N points of a drawn line.
"""

from __future__ import annotations

import cv2
import numpy as np
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from vavam_ros.core.camera import ViewTransform
from vavam_ros.core.contracts import F64, U8, CameraError, Plan
from vavam_ros.core.geometry import plan_spline, transform_points
from vavam_ros.nodes import convert

SELECTED, INVALID, OTHER = (0.1, 0.9, 0.3, 1.0), (1.0, 0.2, 0.1, 1.0), (0.3, 0.6, 1.0, 0.5)  # rgba
DRAWN_POINTS = 31
NEAREST_M = 0.5  # a line begins this far ahead: nearer ground is not in the picture


def _lines(plan: Plan) -> F64:
    """(K, N, 2) points of each sample's spline in the ego frame."""
    t = np.linspace(0.0, plan.xy_ego_m.shape[1] * plan.dt_s, DRAWN_POINTS)
    return np.stack([plan_spline(xy, plan.dt_s, plan.pose.linear_mps)(t)[0] for xy in plan.xy_ego_m])


def markers(plan: Plan, width_m: float) -> MarkerArray:
    """All K samples as line strips in the odometry frame, the selected one last and on top; red when it is invalid."""
    array = MarkerArray()
    header = convert.header_msg(plan.stamp_ns, plan.pose.odom_frame_id)
    for k, xy in enumerate(_lines(plan)):
        chosen = k == plan.selection.index
        r, g, b, a = (INVALID if plan.violations else SELECTED) if chosen else OTHER
        marker = Marker(header=header, ns="samples", id=k, type=Marker.LINE_STRIP, action=Marker.ADD, color=ColorRGBA(r=r, g=g, b=b, a=a))
        marker.pose.orientation.w = 1.0
        marker.scale.x = width_m * (2.0 if chosen else 1.0)
        points = transform_points(plan.pose.T_odom_ego, xy)
        if np.isfinite(points).all():  # a viewer rejects the whole array otherwise
            marker.points = [Point(x=x, y=y, z=z + (0.05 if chosen else 0.0)) for x, y, z in points.tolist()]
            array.markers.append(marker)
    return array


def overlay(plan: Plan, view: ViewTransform, picture: U8) -> U8 | None:
    """The model's picture (h, w, 3) with all samples on the ground, the selected one on top. None where the view's geometry is not known."""
    drawn: U8 = picture.copy()
    order = sorted(range(len(plan.xy_ego_m)), key=lambda k: k == plan.selection.index)
    lines = _lines(plan)
    for k in order:
        chosen = k == plan.selection.index
        xy = lines[k][lines[k][:, 0] > NEAREST_M]
        if len(xy) < 2 or not np.isfinite(xy).all():
            continue
        try:
            px = view.project(np.column_stack([xy, np.zeros(len(xy))]))
        except CameraError:
            return None
        px = px[np.isfinite(px).all(axis=1) & (np.abs(px) < 10_000.0).all(axis=1)]
        r, g, b, _ = (INVALID if plan.violations else SELECTED) if chosen else OTHER
        colour = (round(255 * r), round(255 * g), round(255 * b))
        cv2.polylines(drawn, [np.round(px).astype(np.int32)], False, colour, 2 if chosen else 1, cv2.LINE_AA)
    return drawn
