"""What a driver is shown instead of the picture that was taken: controls that say whether it looks."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from vavam_world.contracts import U8
from vavam_world.drivers.loop import ImageFilter

Shown: TypeAlias = Literal["as_taken", "black", "frozen", "shuffled"]


def image_filter(shown: Shown, *, seed: int = 0) -> ImageFilter | None:
    """For one drive. `black`: nothing is seen; `frozen`: the first picture for ever; `shuffled`: any picture taken so far, drawn by `seed`."""
    if shown == "as_taken":
        return None
    if shown == "black":
        return lambda tick, picture: np.zeros_like(picture)
    taken: list[U8] = []
    rng = np.random.default_rng(seed)

    def instead(tick: int, picture: U8) -> U8:
        taken.append(picture.copy())
        return taken[0] if shown == "frozen" else taken[int(rng.integers(len(taken)))]

    return instead
