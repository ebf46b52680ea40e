"""muP's coordinate check: what the first steps do to the activations does not depend on the width (arXiv 2203.03466, appendix D)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib
import pytest
import tiny
import torch

from vavam_ros.core.model import VideoModel
from vavam_training.loop.optim import OptimConfig, adamw, mup_groups_action, mup_groups_video, set_rate
from vavam_training.stages.action import ActionOptions, ActionStage
from vavam_training.stages.video import VideoOptions, VideoStage

matplotlib.use("Agg")
import matplotlib.pyplot as plt

WIDTHS = (32, 64, 128, 256)
STEPS, RATE = 4, 0.01
Course = dict[int, dict[str, list[float]]]  # width → layer → root mean square of the change since the start, after each step


def coordinates(width: int, *, mup: bool) -> dict[str, list[float]]:
    """Root mean square change of the video model's activations on one batch."""
    base = 32 if mup else width  # without muP each width is its own base: one rate for all, logits not divided
    spec = replace(tiny.SPEC, video=replace(tiny.SPEC.video, width=width, mup_base_width=base))
    net = VideoStage(spec, VideoOptions(init_std=0.1, zero_query=False), 1).build(torch.device("cpu"))
    tokens = tiny.mixture().batch(range(16)).tokens
    optimizer = adamw(mup_groups_video(net.video), OptimConfig(weight_decay=0.0))
    with torch.no_grad():
        start = activations(net.video, tokens)
    changes: dict[str, list[float]] = {name: [] for name in start}
    stage = VideoStage(spec, VideoOptions(), 1)
    batch = tiny.mixture().batch(range(16))
    for _ in range(STEPS):
        optimizer.zero_grad()
        stage.loss(net, batch, torch.Generator(), "model", 0).total.backward()
        set_rate(optimizer, RATE)
        optimizer.step()
        with torch.no_grad():
            now = activations(net.video, tokens)
        for name in start:
            changes[name].append(float((now[name] - start[name]).square().mean().sqrt()))
    return changes


def activations(video: VideoModel, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    hidden = list(video.hidden(tokens))
    return {f"layer {i}": x for i, x in enumerate(hidden)} | {"logits": video.readout(hidden[-1])}


def growth(course: Course, layer: str) -> float:
    """Slope of log change over log width after the last step: 0 where the width does not matter."""
    x = torch.tensor([float(w) for w in course]).log()
    y = torch.tensor([c[layer][-1] for c in course.values()]).log()
    return float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())


def plot(path: Path, courses: dict[str, Course]) -> None:
    figure, axes = plt.subplots(1, len(courses), figsize=(9, 3.4), sharey=True, dpi=110)
    for axis, (title, course) in zip(axes, courses.items(), strict=True):
        for layer in next(iter(course.values())):
            axis.plot(list(course), [c[layer][-1] for c in course.values()], marker="o", label=layer)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("width")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f"change after {STEPS} steps (rms)")
    axes[-1].legend(fontsize=8, frameon=False)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def test_what_a_step_does_is_the_same_at_every_width(tmp_path: Path) -> None:
    ours: Course = {w: coordinates(w, mup=True) for w in WIDTHS}
    plain: Course = {w: coordinates(w, mup=False) for w in WIDTHS}
    plot(tmp_path / "coordinates.png", {"muP": ours, "one rate for all widths": plain})
    assert (tmp_path / "coordinates.png").stat().st_size > 10_000
    for layer in ours[32]:
        assert abs(growth(ours, layer)) < 0.2, layer
    assert growth(plain, "logits") > 0.4  # the check can fail


@pytest.mark.parametrize("width", WIDTHS)
def test_the_expert_s_matrices_learn_at_their_own_width_s_rate(width: int) -> None:
    spec = replace(tiny.SPEC, action=replace(tiny.SPEC.action, width=width))
    model = ActionStage(spec, ActionOptions(), 1).build(torch.device("cpu"))
    scale_of = {id(p): g.lr_scale for g in mup_groups_action(model.action, spec.video.readout_divisor) for p in g.parameters}
    scales = {name: scale_of[id(p)] for name, p in model.action.named_parameters()}
    assert scales["blocks.0.attention.qkv.weight"] == pytest.approx(8 / width)
    assert scales["encoder.mix.weight"] == pytest.approx(8 / width)
    assert scales["blocks.0.attention.out.weight"] == pytest.approx(16 / 32)  # its fan-in is the heads', as wide as the video
    assert scales["encoder.action_in.weight"] == scales["readout.weight"] == scales["encoder.command_embedding.weight"] == 1.0
