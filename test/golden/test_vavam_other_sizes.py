"""The parity test holds for a set of quite other sizes, recomputed here from the specification: plain matrix products in fp64, no code of the package.

It runs as a user of another set would run it: a directory in VAVAM_GOLDEN. That shows both that no size is built in, and that a broken set fails.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

PARITY = Path(__file__).parent / "test_vavam_parity.py"
T, GRID_H, GRID_W, VOCABULARY, HORIZON, STEPS, BATCH, LAYERS, HEAD, WIDTH, EXPERT = 3, 2, 5, 101, 5, 7, 3, 2, 32, 96, 40
BASE, EXPERT_BASE, SHORT, SIGMA, SCALE_M, PERIOD = 32, 10, 1, 0.001, 70.0, 10_000.0
S, HEADS = GRID_H * GRID_W, WIDTH // HEAD
TIMES = [0.0, 0.2, 0.77]

Weights = dict[str, Tensor]


def normed(x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """(B, rows, WIDTH), (B, columns, WIDTH) → (B, rows, WIDTH), head by head."""
    heads = []
    for a in range(HEADS):
        cut = slice(a * HEAD, (a + 1) * HEAD)
        score = q[..., cut] @ k[..., cut].mT / HEAD
        weight = score.exp() * mask
        heads.append(weight / weight.sum(-1, keepdim=True) @ v[..., cut])
    return torch.cat(heads, -1)


def mlp(x: Tensor, w: Weights, prefix: str) -> Tensor:
    up = normed(x) @ w[f"{prefix}.mlp.c_fc.weight"].T
    return up * 0.5 * (1 + torch.erf(up / math.sqrt(2))) @ w[f"{prefix}.mlp.c_proj.weight"].T


def joint(w: Weights, tokens: Tensor, action: Tensor | None, mask: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Video tokens (B, n) and action tokens (B, m, EXPERT) through all layers under one mask: both residual streams, from the embeddings on."""
    n = tokens.shape[1]
    at = torch.arange(n)
    x = w["gpt.transformer.wie.weight"][tokens] + w["gpt.transformer.wse.weight"][at % S] + w["gpt.transformer.wte.weight"][at // S]
    y = torch.zeros(len(tokens), 0, EXPERT, dtype=x.dtype) if action is None else action
    video, actions = [x], [y]
    for i in range(LAYERS):
        g, e = f"gpt.transformer.h.{i}", f"action_expert.transformer.h.{i}"
        joined = torch.cat([normed(x) @ w[f"{g}.attn.c_attn.weight"].T, normed(y) @ w[f"{e}.attn.c_attn.weight"].T], 1)
        out = attend(*joined.split(WIDTH, -1), mask)
        x = x + out[:, :n] @ w[f"{g}.attn.c_proj.weight"].T
        y = y + out[:, n:] @ w[f"{e}.attn.c_proj.weight"].T
        x, y = x + mlp(x, w, g), y + mlp(y, w, e)
        video.append(x)
        actions.append(y)
    return video, actions


def rows_mask(frames: int, groups: list[int]) -> Tensor:
    """Video rows causal; then HORIZON rows for each group, which see that many frames and themselves."""
    n = frames * S
    mask = torch.zeros(n + len(groups) * HORIZON, n + len(groups) * HORIZON, dtype=torch.bool)
    for i in range(n):
        mask[i, : i + 1] = True
    for j, sees in enumerate(groups):
        rows = slice(n + j * HORIZON, n + (j + 1) * HORIZON)
        mask[rows, : sees * S] = True
        mask[rows, rows] = True
    return mask


def sinusoid(time: Tensor) -> Tensor:
    half = EXPERT // 2
    angle = time[..., None] * torch.tensor([PERIOD ** (-i / (half - 1)) for i in range(half)], dtype=time.dtype)
    return torch.cat([angle.sin(), angle.cos()], -1)


def encode(w: Weights, action: Tensor, time: Tensor, command: Tensor) -> Tensor:
    """(B, G, HORIZON, 2), (B, G), (B, G) → (B, G, HORIZON, EXPERT)."""
    e = "action_expert.action_encoder"
    h = action @ w[f"{e}.linear_1.weight"].T + w[f"{e}.command_embedding.weight"][command].unsqueeze(2) + w[f"{e}.action_positional_embedding.weight"]
    z = torch.cat([sinusoid(time).unsqueeze(2).expand_as(h), h], -1) @ w[f"{e}.linear_2.weight"].T
    return z * torch.sigmoid(z) @ w[f"{e}.linear_3.weight"].T


def velocity(w: Weights, tokens: Tensor, action: Tensor, time: Tensor, command: Tensor, groups: list[int]) -> tuple[Tensor, list[Tensor]]:
    """Velocity (B, G, HORIZON, 2) and the expert's residual stream."""
    encoded = encode(w, action, time, command)
    _, states = joint(w, tokens.flatten(1), encoded.flatten(1, 2), rows_mask(tokens.shape[1], groups))
    out = normed(states[-1]) @ w["action_expert.action_decoder.weight"].T / (EXPERT / EXPERT_BASE)
    return out.view_as(action), states


def sampled(w: Weights, tokens: Tensor, noise: Tensor, command: Tensor, steps: int) -> list[Tensor]:
    """The scaled state after each Euler step."""
    states, x = [], noise
    for i in range(steps):
        x = x + velocity(w, tokens, x, torch.full(command.shape, i / steps, dtype=x.dtype), command, [tokens.shape[1]])[0] / steps
        states.append(x)
    return states


def logits_of(w: Weights, flat: Tensor) -> tuple[Tensor, list[Tensor]]:
    states, _ = joint(w, flat, None, torch.ones(flat.shape[1], flat.shape[1], dtype=torch.bool).tril())
    return normed(states[-1]) @ w["gpt.transformer.wie.weight"].T / (WIDTH / BASE), states


def greedy(w: Weights, tokens: Tensor, frames: int) -> Tensor:
    flat = tokens.flatten(1)
    for _ in range(frames * S):
        flat = torch.cat([flat, logits_of(w, flat)[0][:, -1:].argmax(-1)], 1)
    return flat[:, -frames * S :].view(len(tokens), frames, GRID_H, GRID_W)


def weight_shapes() -> dict[str, tuple[int, ...]]:
    e = "action_expert.action_encoder"
    shapes: dict[str, tuple[int, ...]] = {
        "gpt.transformer.wie.weight": (VOCABULARY, WIDTH),
        "gpt.transformer.wse.weight": (S, WIDTH),
        "gpt.transformer.wte.weight": (T, WIDTH),
        f"{e}.linear_1.weight": (EXPERT, 2),
        f"{e}.linear_2.weight": (EXPERT, 2 * EXPERT),
        f"{e}.linear_3.weight": (EXPERT, EXPERT),
        f"{e}.command_embedding.weight": (3, EXPERT),
        f"{e}.action_positional_embedding.weight": (HORIZON, EXPERT),
        "action_expert.action_decoder.weight": (2, EXPERT),
    }
    for half, width in (("gpt", WIDTH), ("action_expert", EXPERT)):
        for i in range(LAYERS):
            h = f"{half}.transformer.h.{i}"
            shapes |= {f"{h}.attn.c_attn.weight": (3 * WIDTH, width), f"{h}.attn.c_proj.weight": (width, WIDTH)}
            shapes |= {f"{h}.mlp.c_fc.weight": (4 * width, width), f"{h}.mlp.c_proj.weight": (width, 4 * width)}
    return shapes


def config_of(names: list[str]) -> dict[str, object]:
    common = {"nb_layers": LAYERS, "dim_heads": HEAD, "mlp_dim_mult": 4}
    return {
        "frame_height": GRID_H,
        "frame_width": GRID_W,
        "batch": BATCH,
        "short_context_frames": SHORT,
        "gpt": common | {"embedding_dim": WIDTH, "vocabulary_size": VOCABULARY, "nb_timesteps": T, "nb_tokens_per_timestep": S},
        "action_expert": common
        | {"embedding_dim": EXPERT, "attention_dim": WIDTH, "action_dim": 2, "action_horizon": HORIZON, "number_high_level_command": 3, "max_period": PERIOD},
        "vam": {"num_inference_steps": STEPS, "flow_sig_min": SIGMA, "final_action_clip_value": None, "action_scaling": SCALE_M},
        "width_multiplier": {"gpt_readout": WIDTH / BASE, "action_readout": EXPERT / EXPERT_BASE},
        "attention_scale": 1 / HEAD,
        "velocity_times": TIMES,
        "gpt_mup_base_shapes": {"transformer.wie.weight": [None, BASE]},
        "action_mup_base_shapes": {"action_decoder.weight": [None, EXPERT_BASE]},
        "state_dict_aliases": {"gpt.lm_head.weight": "gpt.transformer.wie.weight"},
        "state_dict_order": [*names, "gpt.lm_head.weight", "attn_mask"],
    }


def inputs_of(g: torch.Generator) -> Weights:
    command = torch.randint(3, (BATCH, T), generator=g)
    return {
        "tokens": torch.randint(VOCABULARY, (BATCH, T, GRID_H, GRID_W), generator=g),
        "command_all": command,
        "command_last": command[:, -1:].clone(),
        "noise": torch.randn(BATCH, 1, HORIZON, 2, generator=g),
        "train_noise": torch.randn(BATCH, T, HORIZON, 2, generator=g),
        "train_time": torch.rand(BATCH, T, generator=g) * 0.999,
        "train_positions": 20 * torch.randn(BATCH, T, HORIZON, 2, generator=g),
        "velocity_times": torch.tensor(TIMES),
    }


def video_outputs(w: Weights, tokens: Tensor) -> dict[str, Tensor]:
    flat, at = tokens.flatten(1), torch.arange(T * S).expand(BATCH, -1)
    logits, states = logits_of(w, flat)
    out = {"positions.spatial": at % S, "positions.temporal": at // S, "gpt.hidden.embed": states[0], "gpt.logits": logits}
    out |= {f"gpt.hidden.block{i}": x for i, x in enumerate(states[1:])}
    out["gpt.hidden.ln_f"] = normed(states[-1])
    out["gpt.intermediate.layer0"] = states[1].reshape(BATCH, T, GRID_H, GRID_W, WIDTH)
    out["gpt.intermediate.last"] = out["gpt.hidden.ln_f"].reshape(BATCH, T, GRID_H, GRID_W, WIDTH)
    chosen = logits[:, :-1].gather(-1, flat[:, 1:, None])[..., 0]
    out["gpt.ntp.per_token_loss"] = logits[:, :-1].exp().sum(-1).log() - chosen
    out["gpt.ntp.loss"] = out["gpt.ntp.per_token_loss"].mean()
    names = [name for name in w if name.startswith("gpt.")]
    for name, grad in zip(names, torch.autograd.grad(out["gpt.ntp.loss"], [w[name] for name in names]), strict=True):
        out[f"gpt.ntp.grad.{name.removeprefix('gpt.')}"] = grad
    with torch.no_grad():
        out["gpt.generate.one_frame"] = greedy(w, tokens[:, : T - 1], 1)
        out["gpt.generate.fill_context"] = greedy(w, tokens[:, :1], T - 1)
        out["gpt.generate.overflow_reference"] = out["gpt.generate.one_frame"].repeat(1, 2, 1, 1)
    return out


def action_outputs(w: Weights, given: Weights) -> dict[str, Tensor]:
    tokens, noise, command = given["tokens"], given["noise"], given["command_last"]
    short, times = tokens[:, :SHORT], [given["velocity_times"][i] for i in range(len(TIMES))]
    spread = [t.expand(BATCH, 1) for t in times]
    out = {"act.time_embedding": sinusoid(given["velocity_times"])}
    out["act.encoder"] = torch.stack([encode(w, noise, t, command) for t in spread])
    full = [velocity(w, tokens, noise, t, command, [T]) for t in spread]
    out["act.velocity"] = torch.stack([v for v, _ in full])
    out["act.velocity_short_context"] = torch.stack([velocity(w, short, noise, t, command, [SHORT])[0] for t in spread])
    out |= {f"act.hidden.block{i}": x for i, x in enumerate(full[1][1][1:])}
    out["act.hidden.ln_f"] = normed(full[1][1][-1]).view(BATCH, 1, HORIZON, EXPERT)
    states = sampled(w, tokens, noise, command, STEPS)
    out["act.sample.steps"] = SCALE_M * torch.stack(states)
    out["act.sample.trajectory"] = SCALE_M * states[-1]
    out["act.sample.short_context.trajectory"] = SCALE_M * sampled(w, short, noise, command, STEPS)[-1]
    out["act.sample.four_steps.trajectory"] = SCALE_M * sampled(w, tokens, noise, command, 4)[-1]
    out["act.sample.clip0p05.trajectory"] = SCALE_M * states[-1].clamp(-0.05, 0.05)
    time, x0, x1 = given["train_time"], given["train_noise"], given["train_positions"] / SCALE_M
    t = time[:, :, None, None]
    out["act.train.noisy"] = (1 - (1 - SIGMA) * t) * x0 + t * x1
    out["act.train.velocity"], _ = velocity(w, tokens, out["act.train.noisy"], time, given["command_all"], list(range(1, T + 1)))
    out["act.train.loss"] = (out["act.train.velocity"] - (x1 - (1 - SIGMA) * x0)).square().mean()
    names = [name for name in w if name.startswith("action_expert.")]
    for name, grad in zip(names, torch.autograd.grad(out["act.train.loss"], [w[name] for name in names]), strict=True):
        out[f"act.train.grad.{name.removeprefix('action_expert.')}"] = grad
    return out


def stored(x: Tensor) -> Tensor:
    return (x.float() if x.is_floating_point() else x).detach().clone().contiguous()


@pytest.fixture(scope="module")
def other_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of the same layout without checkpoint files, misc or ego_dataset."""
    directory = tmp_path_factory.mktemp("other_set")
    g = torch.Generator().manual_seed(31)
    embeddings = ("wie", "wse", "wte")
    weights = {
        name: torch.randn(shape, generator=g) * (0.5 if name.split(".")[2] in embeddings else shape[-1] ** -0.5) for name, shape in weight_shapes().items()
    }
    given = inputs_of(g)
    wide = {name: t.double().requires_grad_() for name, t in weights.items()}
    exact = {name: t.double() if t.is_floating_point() else t for name, t in given.items()}
    masks = {"train": rows_mask(T, list(range(1, T + 1))), "inference": rows_mask(T, [T]), "inference_short_context": rows_mask(SHORT, [SHORT])}
    outputs = video_outputs(wide, given["tokens"]) | action_outputs(wide, exact) | {f"mask.{name}": m.to(torch.uint8) for name, m in masks.items()}
    save_file({name: stored(t) for name, t in weights.items()} | {"attn_mask": masks["train"]}, directory / "weights.safetensors")
    save_file({name: stored(t) for name, t in given.items()}, directory / "inputs.safetensors")
    save_file({name: stored(t) for name, t in outputs.items()}, directory / "outputs.safetensors")
    (directory / "config.json").write_text(json.dumps(config_of(list(weights))))
    return directory


def run_parity(directory: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(PARITY)]
    return subprocess.run(command, env={**os.environ, "VAVAM_GOLDEN": str(directory)}, capture_output=True, text=True, check=False)


def test_parity_holds_for_other_sizes(other_set: Path) -> None:
    done = run_parity(other_set)
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout


def test_a_wrong_or_unclaimed_array_of_another_set_fails(other_set: Path, tmp_path: Path) -> None:
    for file in other_set.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    outputs = load_file(tmp_path / "outputs.safetensors")
    outputs["act.velocity"][1, 0, 0, 2, 1] += 1e-4 * outputs["act.velocity"].abs().max()
    outputs["gpt.new_array"] = torch.zeros(2)
    save_file(outputs, tmp_path / "outputs.safetensors")
    done = run_parity(tmp_path)
    assert done.returncode == 1
    for name in (
        "test_recomputed_array_equals_the_record[act.velocity]",
        "test_recomputed_array_equals_the_record[gpt.new_array]",
        "test_every_array_is_claimed",
    ):
        assert f"::{name}" in done.stdout
    assert " 3 failed" in f" {done.stdout.splitlines()[-1]}"
