"""From drives to windows: their grid (spec), which frames make one (windows), and what is to be learned from them (labels)."""

from vavam_training.windows.emphasis import copies, strays_m
from vavam_training.windows.labels import labels, positions
from vavam_training.windows.spec import RULES, WindowSpec
from vavam_training.windows.turning import future_rotations, yaw_rates
from vavam_training.windows.windows import Windows, find_windows, window_starts

__all__ = ["RULES", "WindowSpec", "Windows", "copies", "find_windows", "future_rotations", "labels", "positions", "strays_m", "window_starts", "yaw_rates"]
