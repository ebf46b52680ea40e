"""Units of time, array types, and the error that is the world's own."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from vavam_ros.core.contracts import VavamError

F64: TypeAlias = npt.NDArray[np.float64]
U8: TypeAlias = npt.NDArray[np.uint8]

TICK_NS = 50_000_000  # 0.05 s: the bridge's fixed_delta_seconds
TICK_S = 0.05
IMAGE_EVERY_TICKS = 2  # pictures at 10 Hz
START_NS = 100_000_000_000  # simulated time of tick 0; ROS takes 0 for "not set"
MAP_FRAME = "map"


class WorldError(VavamError):
    """The world cannot do what it is asked for."""
