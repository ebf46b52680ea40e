"""Rays ↔ pixels against OpenCV's own implementation and closed forms."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from vavam_ros.core.camera import Lens
from vavam_ros.core.camera.lens import checked_distortion, scale_intrinsics
from vavam_ros.core.contracts import CameraError

K = np.array([[900.0, 0.0, 641.5], [0.0, 880.0, 355.25], [0.0, 0.0, 1.0]])
LENSES = {
    "none": Lens(K=K, distortion_model="none", D=np.zeros(0)),
    "plumb_bob": Lens(K=K, distortion_model="plumb_bob", D=np.array([-0.31, 0.12, 0.0013, -0.0008, -0.02])),
    "rational_polynomial": Lens(K=K, distortion_model="rational_polynomial", D=np.array([0.9, 0.3, 0.0004, -0.0006, 0.02, 1.25, 0.5, 0.06])),
    "equidistant": Lens(K=K, distortion_model="equidistant", D=np.array([-0.02, 0.006, -0.004, 0.0008])),
}


def rays(limit_deg: float, n: int = 400) -> np.ndarray:
    rng = np.random.default_rng(0)
    angle, turn, distance = np.radians(limit_deg) * np.sqrt(rng.random(n)), 2 * np.pi * rng.random(n), 1 + 50 * rng.random(n)
    return np.stack([np.sin(angle) * np.cos(turn), np.sin(angle) * np.sin(turn), np.cos(angle)], axis=-1) * distance[:, None]


@pytest.mark.parametrize("name", LENSES)
def test_projection_equals_opencv(name):
    lens, xyz = LENSES[name], rays(40)
    if name == "equidistant":
        expected = cv2.fisheye.projectPoints(xyz[:, None], np.zeros(3), np.zeros(3), K, lens.D)[0]
    else:
        expected = cv2.projectPoints(xyz, np.zeros(3), np.zeros(3), K, lens.D if name != "none" else None)[0]
    assert np.abs(lens.project(xyz) - expected.reshape(-1, 2)).max() < 1e-6


@pytest.mark.parametrize("name", LENSES)
def test_unprojection_is_the_inverse(name):
    lens, xyz = LENSES[name], rays(38)
    back = lens.unproject(lens.project(xyz))
    assert np.abs(back - xyz / xyz[:, 2:]).max() < 1e-6


def test_skew_is_part_of_both_directions():
    lens = Lens(K=np.array([[900.0, 30.0, 640.0], [0.0, 880.0, 355.0], [0.0, 0.0, 1.0]]), distortion_model="none", D=np.zeros(0))
    assert np.allclose(lens.project(np.array([[0.1, 0.2, 1.0]])), [[900 * 0.1 + 30 * 0.2 + 640, 880 * 0.2 + 355]])
    assert np.allclose(lens.unproject(lens.project(np.array([[0.1, 0.2, 1.0]]))), [[0.1, 0.2, 1.0]])


@pytest.mark.parametrize("name", ["none", "plumb_bob", "rational_polynomial"])
def test_nothing_behind_a_pinhole_is_seen(name):
    assert np.isnan(LENSES[name].project(np.array([[0.1, 0.1, -1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))).all()


def test_a_fisheye_sees_beyond_ninety_degrees():
    lens = Lens(K=K, distortion_model="equidistant", D=np.zeros(4))
    angle = math.radians(100)
    assert np.allclose(lens.project(np.array([[math.sin(angle), 0.0, math.cos(angle)], [0.0, 0.0, 3.0]])), [[641.5 + 900 * angle, 355.25], [641.5, 355.25]])


def test_plumb_bob_ends_where_it_folds_back():
    """r(1 + k1 r²) turns at r = 1/√(−3 k1); the polynomial alone would bring rays from beyond back into the picture."""
    k1 = -0.4
    lens = Lens(K=K, distortion_model="plumb_bob", D=np.array([k1, 0, 0, 0, 0]))
    turn = 1 / math.sqrt(-3 * k1)
    assert lens.max_angle_rad == pytest.approx(math.atan(turn), abs=1e-9)
    inside, outside, far = lens.project(np.array([[turn * 0.999, 0, 1], [turn * 1.001, 0, 1], [1.5, 0, 1]]))
    assert np.isfinite(inside).all()
    assert np.isnan(outside).all()
    assert np.isnan(far).all()


def test_equidistant_ends_where_it_folds_back():
    k1 = -0.2  # θ(1 + k1 θ²) turns at θ = 1/√(−3 k1)
    assert Lens(K=K, distortion_model="equidistant", D=np.array([k1, 0, 0, 0])).max_angle_rad == pytest.approx(1 / math.sqrt(0.6), abs=1e-9)


@pytest.mark.parametrize("d", [[0.1, 0, 0, 0, 0, -0.5, 0, 0], [-0.3, 0.1, 0, 0, -0.05, 0.2, -0.1, 0.01], [0.5, -0.2, 0, 0, 0.01, 0.9, 0.1, -0.02]])
def test_rational_field_is_the_first_maximum_or_pole(d):
    """Found on a fine grid here, by roots of polynomials there."""
    lens = Lens(K=K, distortion_model="rational_polynomial", D=np.array(d, float))
    r = np.linspace(0, 20, 2_000_001)
    s = r * r
    numerator, denominator = 1 + d[0] * s + d[1] * s**2 + d[4] * s**3, 1 + d[5] * s + d[6] * s**2 + d[7] * s**3
    ends = np.flatnonzero((np.diff(r * numerator / denominator) <= 0) | (np.diff(np.sign(denominator)) != 0))
    expected = math.atan(r[ends[0]]) if len(ends) else math.pi / 2
    assert lens.max_angle_rad == pytest.approx(expected, abs=1e-4 if len(ends) else 0.06)


def test_scaling_keeps_the_edges_of_the_picture_in_place():
    half = scale_intrinsics(K, 0.5, 0.25)
    for u, v in ((-0.5, -0.5), (1279.5, 719.5)):
        x, y = (u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]
        assert half[0, 0] * x + half[0, 2] == pytest.approx((u + 0.5) * 0.5 - 0.5)
        assert half[1, 1] * y + half[1, 2] == pytest.approx((v + 0.5) * 0.25 - 0.5)


@pytest.mark.parametrize(
    ("model", "d", "name", "n"),
    [
        ("", [], "none", 0),
        ("plumb_bob", [0.0] * 5, "none", 0),
        ("plumb_bob", [], "none", 0),
        ("plumb_bob", [0.1, 0, 0, 0], "plumb_bob", 5),
        ("rational_polynomial", [0.1] + [0.0] * 13, "rational_polynomial", 8),
        ("equidistant", [0.0] * 4, "equidistant", 4),
        ("equidistant", [], "equidistant", 4),
        ("fisheye", [0.1, 0, 0, 0], "equidistant", 4),
    ],
)
def test_distortion_as_messages_spell_it(model, d, name, n):
    got, coefficients = checked_distortion(model, np.array(d, float), "camera")
    assert (got, len(coefficients)) == (name, n)


@pytest.mark.parametrize(
    ("model", "d", "text"),
    [
        ("", [0.1], "without a distortion model"),
        ("ds", [0.1], "'ds', expected one of none, plumb_bob, rational_polynomial, equidistant"),
        ("plumb_bob", [0.1, 0.2, 0.3], "got 3 distortion coefficients, expected 5"),
        ("plumb_bob", [0.1] * 8, "got 8 distortion coefficients, expected 5"),
        ("rational_polynomial", [0.1] * 12, "expected 8"),
        ("plumb_bob", [float("nan")] * 5, "not finite"),
    ],
)
def test_distortion_that_cannot_be_meant(model, d, text):
    with pytest.raises(CameraError, match=text):
        checked_distortion(model, np.array(d, float), "camera")
