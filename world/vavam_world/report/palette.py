"""Colours that pictures, plots and videos share. RGB, 0..255."""

from __future__ import annotations

from typing import TypeAlias

Rgb: TypeAlias = tuple[int, int, int]

GROUND: Rgb = (222, 228, 214)
SIDEWALK: Rgb = (200, 200, 196)
ROAD: Rgb = (128, 132, 138)
WHITE: Rgb = (246, 246, 244)
YELLOW: Rgb = (236, 196, 70)
HOUSE: Rgb = (190, 178, 166)
PLANT: Rgb = (158, 184, 140)
ROUTE: Rgb = (120, 178, 226)
PATH: Rgb = (255, 140, 0)
BESIDE: Rgb = (128, 64, 224)
EGO: Rgb = (224, 108, 0)
PARKED: Rgb = (96, 102, 110)
VEHICLE: Rgb = (38, 78, 128)
INTRUDER: Rgb = (176, 24, 60)
PEDESTRIAN: Rgb = (150, 40, 150)
INK: Rgb = (28, 35, 41)
SOFT: Rgb = (91, 103, 112)
PAPER: Rgb = (255, 255, 255)
LINE: Rgb = (221, 226, 230)
GOOD: Rgb = (31, 138, 70)
BAD: Rgb = (190, 30, 45)


def hex_of(rgb: Rgb) -> str:
    """`#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def unit(rgb: Rgb) -> tuple[float, float, float]:
    """0..1, as matplotlib takes it."""
    return rgb[0] / 255.0, rgb[1] / 255.0, rgb[2] / 255.0


def actor_rgb(kind: str, *, intruder: bool) -> Rgb:
    """Colour of a road user."""
    return INTRUDER if intruder else {"pedestrian": PEDESTRIAN, "parked": PARKED}.get(kind, VEHICLE)
