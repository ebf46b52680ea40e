"""Plots of video and semantics, as data URIs.

Shape letters: T frames · H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps

from vavam_ros.core.contracts import U8
from vavam_training.evaluation.dense_metrics import IGNORE
from vavam_training.evaluation.generation import Generated
from vavam_training.evaluation.statistics import Interval
from vavam_training.figures import BLUE, GREY, ORANGE, figure_uri, labelled, new_figure


def loss_by_frame(rows: Sequence[Interval], unigram: float) -> str:
    """Next-token loss of each frame of a window."""
    figure, axis = new_figure(5.6, 3.2)
    x = np.arange(1, len(rows) + 1)
    axis.plot(x, [r.value for r in rows], color=BLUE, lw=1.6, marker="o", ms=3, label="model")
    axis.fill_between(x, [r.low for r in rows], [r.high for r in rows], color=BLUE, alpha=0.15, lw=0)
    axis.axhline(unigram, color=ORANGE, lw=1.0, ls="--", label="frequency of the codes alone")
    axis.set_ylim(bottom=0.0)
    axis.set_xticks(x)
    axis.legend(frameon=False, fontsize=8)
    labelled(axis, "frame of the window", "next-token loss [nats]")
    return figure_uri(figure)


def generated(g: Generated) -> str:
    """Tokens that are right, and Fréchet distances, by generated frame; beside the repeated newest given frame."""
    kinds = list(g.frechet)
    figure, axes = new_figure(5.6 if not kinds else 11.2, 3.2, 1 + len(kinds))
    x = np.arange(1, len(g.same_tokens) + 1)
    pairs = [("share of tokens that came", g.same_tokens, g.copied_tokens), *((f"Fréchet distance\n({k})", g.frechet[k], g.frechet_copied[k]) for k in kinds)]
    for axis, (label, own, copied) in zip(np.atleast_1d(axes), pairs, strict=True):
        axis.plot(x, own, color=BLUE, lw=1.6, marker="o", ms=4, label="generated")
        axis.plot(x, copied, "--", color=GREY, lw=1.6, marker="o", ms=4, label="newest given frame, repeated")
        axis.set_xticks(x)
        axis.set_ylim(bottom=0.0)
        axis.legend(frameon=False, fontsize=8)
        labelled(axis, "generated frame", label)
    return figure_uri(figure)


def class_colours(classes: U8, count: int) -> U8:
    """(H, W) classes → (H, W, 3); what does not count is white."""
    palette = np.full((256, 3), 255, np.uint8)
    palette[:count] = np.round(255 * colormaps["tab20"](np.arange(count) % 20)[:, :3]).astype(np.uint8)
    palette[IGNORE] = 255
    found: U8 = palette[classes]
    return found
