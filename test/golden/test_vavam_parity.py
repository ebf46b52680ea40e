"""Parity with numbers recorded from the published implementation: every array of a golden set is recomputed, or named as waiting for its owner.

The set is the directory in VAVAM_GOLDEN (default: the one beside this file); sizes, times and layer counts come from its config.json.
Its README says what each array is. A deviation is judged against the largest magnitude of the array; integers must be equal.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
import torch
from einops import rearrange
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from vavam_ros.core.model.flow import interpolant, target_velocity
from vavam_ros.core.model.generate import generate_frames
from vavam_ros.core.model.kv_context import action_mask, joint_mask
from vavam_ros.core.model.network import VaVAM, next_token_loss, norm, time_embedding
from vavam_ros.core.spec import ActionSpec, FlowSpec, ModelSpec, VideoSpec
from vavam_ros.core.upstream.key_table import native_to_upstream, upstream_to_native

GOLDEN = Path(os.environ.get("VAVAM_GOLDEN") or Path(__file__).parent / "vavam")
TOLERANCE = 1e-5

# Arrays of training and evaluation. The pieces that reproduce them take them off this list.
WAITING_FOR_TRAINING = (
    "outputs/optim.*",
    "misc/lr.*",
    "misc/ade.*",
    "misc/depth.*",
    "misc/iou.*",
    "misc/timegrid.*",
    "ego_dataset/*",
)
REFERENCE_DEFECT = "gpt.generate.overflow_reference"


class GoldenSet:
    """One directory of recorded numbers, and the model they belong to."""

    def __init__(self, directory: Path) -> None:
        self.config = json.loads((directory / "config.json").read_text())
        self.weights = load_file(directory / "weights.safetensors")
        self.outputs = load_file(directory / "outputs.safetensors")
        self._inputs = load_file(directory / "inputs.safetensors")
        self.inputs_read: set[str] = set()
        self.spec = spec_of(self.config)

    def __getitem__(self, name: str) -> Tensor:
        self.inputs_read.add(name)
        return self._inputs[name]

    def model(self, clip: float | None = None) -> VaVAM:
        model = VaVAM(replace(self.spec, flow=replace(self.spec.flow, clip=clip)), device="cpu")
        named = {upstream_to_native(name): tensor for name, tensor in self.weights.items() if name != "attn_mask"}
        model.load_state_dict({str(name): tensor for name, tensor in named.items()}, strict=True)
        return model

    @property
    def short(self) -> Tensor:
        return self["tokens"][:, : self.config["short_context_frames"]]


def spec_of(config: dict) -> ModelSpec:
    gpt, expert, vam = config["gpt"], config["action_expert"], config["vam"]
    video = VideoSpec(
        width=gpt["embedding_dim"],
        layers=gpt["nb_layers"],
        head_size=gpt["dim_heads"],
        mlp_ratio=gpt["mlp_dim_mult"],
        vocabulary=gpt["vocabulary_size"],
        frames=gpt["nb_timesteps"],
        grid_h=config["frame_height"],
        grid_w=config["frame_width"],
        mup_base_width=config["gpt_mup_base_shapes"]["transformer.wie.weight"][1],
        attention_scale=config["attention_scale"] * gpt["dim_heads"],
    )
    action = ActionSpec(
        width=expert["embedding_dim"],
        horizon=expert["action_horizon"],
        action_dim=expert["action_dim"],
        commands=expert["number_high_level_command"],
        mlp_ratio=expert["mlp_dim_mult"],
        max_period=expert["max_period"],
        mup_base_width=config["action_mup_base_shapes"]["action_decoder.weight"][1],
    )
    flow = FlowSpec(steps=vam["num_inference_steps"], sigma_min=vam["flow_sig_min"], action_scale_m=vam["action_scaling"], clip=vam["final_action_clip_value"])
    return ModelSpec(name="golden", video=video, action=action, flow=flow)


@pytest.fixture(scope="module", autouse=True)
def nothing_without_a_device() -> Iterator[None]:
    """A tensor that the package makes without a device lands on meta and spoils the numbers."""
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


@functools.cache
def golden() -> GoldenSet:
    return GoldenSet(GOLDEN)


# Each of these recomputes a family of arrays under the names of the record.


def video_arrays(g: GoldenSet) -> Iterator[tuple[str, Tensor]]:
    video, tokens = g.model().video, g["tokens"]
    s, n = video.spec.tokens_per_frame, tokens[0].numel()
    with torch.no_grad():
        # the positions are read off the embeddings: the rows that `embed` adds are these
        flat = rearrange(tokens, "b t h w -> b (t h w)")
        embedded = video.embed(flat)
        rest = embedded - video.token_embedding.weight[flat]
        table = rearrange(video.frame_embedding.weight[:, None] + video.space_embedding.weight[None], "t s d -> (t s) d")
        nearest = torch.cdist(rest, table.expand(len(tokens), -1, -1)).argmin(-1)
        assert nearest.shape == (len(tokens), n)
        yield "positions.spatial", nearest % s
        yield "positions.temporal", nearest // s
        states = list(video.hidden(tokens))
        yield "gpt.hidden.embed", states[0]
        for i, state in enumerate(states[1:]):
            yield f"gpt.hidden.block{i}", state
        yield "gpt.hidden.ln_f", norm(states[-1])
        yield "gpt.logits", video(tokens)
        yield "gpt.intermediate.layer0", video.features(tokens, 0)
        yield "gpt.intermediate.last", video.features(tokens, -1)


def next_token_arrays(g: GoldenSet) -> Iterator[tuple[str, Tensor]]:
    video, tokens = g.model().video, g["tokens"]
    logits = video(tokens)
    yield "gpt.ntp.per_token_loss", next_token_loss(logits, tokens, reduction="none").detach()
    loss = next_token_loss(logits, tokens)
    loss.backward()
    yield "gpt.ntp.loss", loss.detach()
    for name, p in video.named_parameters():
        assert p.grad is not None
        upstream = native_to_upstream(f"video.{name}")
        assert upstream is not None
        yield f"gpt.ntp.grad.{upstream.removeprefix('gpt.')}", p.grad


def generated_arrays(g: GoldenSet) -> Iterator[tuple[str, Tensor]]:
    video, tokens = g.model().video, g["tokens"]
    frames = video.spec.frames
    yield "gpt.generate.one_frame", generate_frames(video, tokens[:, : frames - 1], 1)
    yield "gpt.generate.fill_context", generate_frames(video, tokens[:, :1], frames - 1)


def velocity_arrays(g: GoldenSet) -> Iterator[tuple[str, Tensor]]:
    model = g.model()
    noise, command, times = g["noise"], g["command_last"], g["velocity_times"]
    expert = model.action
    with torch.inference_mode():
        full, short = model.context(g["tokens"]), model.context(g.short)
        yield "act.time_embedding", time_embedding(times, expert.spec.width, expert.spec.max_period)
        yield "act.encoder", torch.stack([expert.encoder(noise, t.expand(command.shape), command) for t in times])
        yield "act.velocity", torch.stack([model.velocity(full, noise, t, command) for t in times])
        yield "act.velocity_short_context", torch.stack([model.velocity(short, noise, t, command) for t in times])
        states = list(expert.hidden(full, expert.encoder(noise, times[1].expand(command.shape), command)))
        for i, state in enumerate(states[1:]):
            yield f"act.hidden.block{i}", state[:, 0]
        yield "act.hidden.ln_f", norm(states[-1])


def sampled_arrays(g: GoldenSet) -> Iterator[tuple[str, Tensor]]:
    model = g.model()
    noise, command = g["noise"], g["command_last"]
    with torch.inference_mode():
        full, short = model.context(g["tokens"]), model.context(g.short)
        yield "act.sample.steps", model.sample(full, noise, command, trace=True)
        yield "act.sample.trajectory", model.sample(full, noise, command)
        yield "act.sample.short_context.trajectory", model.sample(short, noise, command)
        yield "act.sample.four_steps.trajectory", model.sample(full, noise, command, steps=4)
        for name in g.outputs:
            if found := re.fullmatch(r"act\.sample\.clip(\d+)p(\d+)\.trajectory", name):
                yield name, g.model(clip=float(".".join(found.groups()))).sample(full, noise, command)


def training_arrays(g: GoldenSet) -> Iterator[tuple[str, Tensor]]:
    model, flow = g.model(), g.spec.flow
    tokens, command, time, noise = g["tokens"], g["command_all"], g["train_time"], g["train_noise"]
    data = g["train_positions"] / flow.action_scale_m
    noisy = interpolant(noise, data, time, flow.sigma_min)
    yield "act.train.noisy", noisy
    velocity = model.training_velocity(tokens, noisy, time, command)
    yield "act.train.velocity", velocity.detach()
    loss = model.action_loss(tokens, g["train_positions"], noise, time, command)
    yield "act.train.loss", loss.detach()
    torch.testing.assert_close(loss, torch.nn.functional.mse_loss(velocity, target_velocity(noise, data, flow.sigma_min)))
    loss.backward()
    for name, p in model.action.named_parameters():
        assert p.grad is not None
        upstream = native_to_upstream(f"action.{name}")
        assert upstream is not None
        yield f"act.train.grad.{upstream.removeprefix('action_expert.')}", p.grad
    assert all(p.grad is None for p in model.video.parameters()), "a gradient reached the frozen video model"


def mask_arrays(g: GoldenSet) -> Iterator[tuple[str, Tensor]]:
    v, h = g.spec.video, g.spec.action.horizon
    yield "mask.train", joint_mask(action_mask(v.frames, v.tokens_per_frame, h, device="cpu"), h).to(torch.uint8)
    for name, frames in (("mask.inference", v.frames), ("mask.inference_short_context", g.config["short_context_frames"])):
        everything = torch.ones(h, frames * v.tokens_per_frame, dtype=torch.bool, device="cpu")
        yield name, joint_mask(everything, h).to(torch.uint8)


FAMILIES: tuple[Callable[[GoldenSet], Iterator[tuple[str, Tensor]]], ...] = (
    video_arrays,
    next_token_arrays,
    generated_arrays,
    velocity_arrays,
    sampled_arrays,
    training_arrays,
    mask_arrays,
)


@functools.cache
def recomputed() -> dict[str, Tensor]:
    arrays: dict[str, Tensor] = {}
    for family in FAMILIES:
        for name, value in family(golden()):
            assert name not in arrays, f"{name} is recomputed twice"
            arrays[name] = value
    return arrays


def waits(path: str) -> bool:
    return any(fnmatch(path, pattern) for pattern in WAITING_FOR_TRAINING)


def array_paths(directory: Path) -> list[str]:
    """file/array for every array file but the weights, whose names the strict loading checks."""
    paths = []
    for file in sorted(directory.glob("*.safetensors")):
        if file.stem != "weights":
            with safe_open(file, "pt") as f:
                paths += [f"{file.stem}/{name}" for name in f.keys()]  # noqa: SIM118 (no mapping)
    for file in sorted(directory.glob("*.npz")):
        with np.load(file) as content:
            paths += [f"{file.stem}/{name}" for name in content.files]
    return paths


def unclaimed(paths: list[str]) -> list[str]:
    """Arrays that no test reproduces, reads, or has put on the waiting list."""
    claimed = {f"outputs/{name}" for name in [*recomputed(), REFERENCE_DEFECT]} | {f"inputs/{name}" for name in golden().inputs_read}
    return [path for path in paths if path not in claimed and not waits(path)]


def assert_same(name: str, got: Tensor, expected: Tensor) -> None:
    assert got.shape == expected.shape, f"{name}: got shape {tuple(got.shape)}, recorded {tuple(expected.shape)}"
    assert got.dtype == expected.dtype, f"{name}: got {got.dtype}, recorded {expected.dtype}"
    if not expected.is_floating_point():
        assert torch.equal(got, expected), f"{name}: {int((got != expected).sum())} of {expected.numel()} differ"
        return
    worst, largest = float((got - expected).abs().max()), float(expected.abs().max())
    assert worst <= TOLERANCE * largest, f"{name}: off by {worst:.3g}, that is {worst / largest:.2g} of its largest magnitude {largest:.3g}"


def compared() -> list[str]:
    """Outputs that must come out the same: all but those that wait, and the record of a defect (test_overflow_keeps_the_newest_frames)."""
    return [
        path.removeprefix("outputs/") for path in array_paths(GOLDEN) if path.startswith("outputs/") and not waits(path) and not path.endswith(REFERENCE_DEFECT)
    ]


@pytest.mark.parametrize("name", compared())
def test_recomputed_array_equals_the_record(name: str) -> None:
    assert name in recomputed(), f"nothing recomputes {name}"
    assert_same(name, recomputed()[name], golden().outputs[name])


def test_every_array_is_claimed() -> None:
    assert unclaimed(array_paths(GOLDEN)) == []


def test_an_array_that_nothing_claims_is_found() -> None:
    assert unclaimed(["outputs/gpt.logits", "outputs/gpt.unheard_of", "misc/unheard_of"]) == ["outputs/gpt.unheard_of", "misc/unheard_of"]


def test_nothing_is_recomputed_that_the_set_lacks() -> None:
    assert sorted(set(recomputed()) - set(golden().outputs)) == []


def test_overflow_keeps_the_newest_frames() -> None:
    """The reference, given a full window and asked for two frames, drops the newest frame and so yields the same frame twice."""
    g = golden()
    video, tokens, record = g.model().video, g["tokens"], g.outputs[REFERENCE_DEFECT]
    assert torch.equal(record[:, 0], g.outputs["gpt.generate.one_frame"][:, 0])
    assert torch.equal(record[:, 0], record[:, 1])
    ours = generate_frames(video, tokens, 2)
    window = tokens
    for i in range(2):  # what it must be: each frame from the newest that leave room for it
        window = torch.cat([window[:, 1 - video.spec.frames :], generate_frames(video, window[:, 1 - video.spec.frames :], 1)], dim=1)
        assert torch.equal(ours[:, i], window[:, -1])
    if torch.equal(ours, record):
        pytest.skip("on this set the oldest and the newest frames continue alike")


def test_divisors_and_scale_are_the_recorded_ones() -> None:
    g = golden()
    assert g.spec.video.readout_divisor == g.config["width_multiplier"]["gpt_readout"]
    assert g.spec.action.readout_divisor == g.config["width_multiplier"]["action_readout"]
    assert g.model().video.scale == pytest.approx(g.config["attention_scale"], rel=1e-12)


def test_stored_attention_mask_is_ours_and_no_weight() -> None:
    g = golden()
    v, h = g.spec.video, g.spec.action.horizon
    assert upstream_to_native("attn_mask") is None
    assert torch.equal(g.weights["attn_mask"], joint_mask(action_mask(v.frames, v.tokens_per_frame, h, device="cpu"), h))


def test_every_listed_upstream_name_leads_to_the_right_tensor() -> None:
    """Aliases included: all names of a checkpoint, in the order of the record."""
    g = golden()
    state = g.model().state_dict()
    listed = [name for name in g.config["state_dict_order"] if name != "attn_mask"]
    for name in listed:
        native = upstream_to_native(name)
        assert native is not None, f"{name} has no native name"
        assert torch.equal(state[native], g.weights[g.config["state_dict_aliases"].get(name, name)])
    assert {upstream_to_native(name) for name in listed} == set(state)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: the CPU/GPU parity of the golden set needs one")
def test_gpu_agrees_in_fp32() -> None:
    g = golden()
    model = g.model().to("cuda")
    tokens, noise, command = g["tokens"].cuda(), g["noise"].cuda(), g["command_last"].cuda()
    with torch.inference_mode():
        context = model.context(tokens[:, :1])
        context = model.extend(context, tokens[:, 1:])
        results = {"gpt.logits": model.video(tokens), "act.sample.trajectory": model.sample(context, noise, command)}
    for name, value in results.items():
        expected = g.outputs[name]
        assert float((value.cpu() - expected).abs().max()) <= 1e-4 * float(expected.abs().max()), name
    assert torch.equal(generate_frames(model.video, tokens[:, :1], g.spec.video.frames - 1).cpu(), g.outputs["gpt.generate.fill_context"])
