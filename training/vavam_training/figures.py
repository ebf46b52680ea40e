"""What the plots and pictures of all pages share: colours, axes, data URIs. No state of pyplot."""

from __future__ import annotations

import base64
import io
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure

from vavam_ros.core.contracts import U8

INK, SOFT, LINE = "#1c2329", "#5b6770", "#dde2e6"
BLUE, ORANGE, GREEN, GREY = "#2f6fb0", "#d1611b", "#2a8c6a", "#9fb3c4"


def new_figure(width_in: float, height_in: float, columns: int = 1) -> tuple[Figure, Any]:
    """A figure and its axis, or a row of `columns` axes."""
    figure = Figure(figsize=(width_in, height_in), dpi=120, layout="constrained")
    axes = figure.subplots(1, columns)
    for axis in np.atleast_1d(axes):
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axis.spines[side].set_color(LINE)
        axis.tick_params(colors=SOFT, labelsize=8)
        axis.set_axisbelow(True)
    return figure, axes


def labelled(axis: Any, x: str, y: str) -> None:
    """Names of both directions, and a grid."""
    axis.set_xlabel(x, fontsize=9, color=SOFT)
    axis.set_ylabel(y, fontsize=9, color=SOFT)
    axis.grid(color=LINE, lw=0.6)


def figure_uri(figure: Figure) -> str:
    """PNG."""
    data = io.BytesIO()
    figure.savefig(data, format="png", facecolor="white")
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"


def picture_uri(rgb: U8, width: int) -> str:
    """(H, W, 3) as JPEG, made smaller where it is more than twice `width` pixels wide."""
    if rgb.shape[1] > 2 * width:
        rgb = np.asarray(cv2.resize(rgb, (width, round(width * rgb.shape[0] / rgb.shape[1])), interpolation=cv2.INTER_AREA), np.uint8)
    ok, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert ok
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"
