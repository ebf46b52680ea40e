"""Plans of the driving model in other number formats against those of fp32: same tokens, same noise.

*plain* is core/model/network.py, *fast* is core/model/fast.py, which the nodes run. Differences are to *plain* in fp32, times to fp32 on the same path.
int8, fp8: weights of all linear layers by torchao (int8: a scale for each row; fp8: e4m3), multiplied in fp32; embeddings stay fp32.

Shape letters: W windows · T frames of a window · h w token grid · K samples.
"""

from __future__ import annotations

import copy
import importlib.util
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from bench.bench_model import medians_s
from bench.precision.shared import SAMPLES, Drive, Row, Setting, attempt, columns, difference_cm, noise_of, plans_m, relative, straight_on
from bench.precision.tokenizer import as_input, encoded
from vavam_ros.core.artifact import LoadedArtifact
from vavam_ros.core.model import VaVAM, init_weights
from vavam_ros.core.model.fast import InferenceModel, for_inference
from vavam_ros.core.spec import ModelSpec

REFERENCE = "fp32"
FLOATS = {REFERENCE: torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
QUANTIZED = {"int8 weights": "Int8WeightOnlyConfig", "fp8 weights": "Float8WeightOnlyConfig"}  # of torchao.quantization
PATHS = ("plain", "fast")


def quantized(model: VaVAM, config: str) -> VaVAM:
    """A copy with weights in the format of that name. ImportError without torchao."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library about its own kernels for GPUs
        from torchao import quantization

        one = copy.deepcopy(model)
        quantization.quantize_(one, getattr(quantization, config)())
    return one


def weight_bytes(model: torch.nn.Module) -> int:
    """Memory of all weights; of quantised ones, of what they are made of."""

    def size(t: Tensor) -> int:
        if hasattr(t, "__tensor_flatten__"):  # a tensor that wraps others
            return sum(size(getattr(t, name)) for name in t.__tensor_flatten__()[0])
        return t.numel() * t.element_size()

    return sum(size(t) for t in model.state_dict().values())


def formats(model: VaVAM) -> dict[str, tuple[VaVAM | None, str]]:
    """Format → the model in it, or why not."""
    made: dict[str, tuple[VaVAM | None, str]] = {name: (copy.deepcopy(model).to(dtype), "") for name, dtype in FLOATS.items()}
    for name, config in QUANTIZED.items():
        made[name] = attempt(partial(quantized, model, config)) if importlib.util.find_spec("torchao") else (None, "not installed: torchao")
    return made


def plan_times(models: dict[str, InferenceModel], tokens: Tensor, setting: Setting) -> dict[int, dict[str, float]]:
    """K → format → time of a whole plan (its context, then K samples) as a multiple of fp32's. tokens (T, h, w)."""
    kept: dict[str, Any] = {}

    def context(name: str) -> None:
        kept[name] = models[name].context(tokens[None])

    contexts = medians_s({name: partial(context, name) for name in models}, setting.repeats, False, setting.clock)
    found = {}
    for k in SAMPLES:
        command = torch.zeros(k, dtype=torch.int64)
        sides: dict[str, Callable[[], object]] = {n: partial(m.sample, kept[n], noise_of(m.spec.action.horizon, k), command) for n, m in models.items()}
        denoise = medians_s(sides, setting.repeats, True, setting.clock)
        found[k] = relative({name: contexts[name] + denoise[name] for name in models}, REFERENCE)
    return found


@torch.no_grad()  # not inference_mode, in which torchao's tensors cannot be sliced
def compare(name: str, model: VaVAM, windows: Tensor, command: int, setting: Setting, paths: Sequence[str] = PATHS) -> list[Row]:
    """A row for each path and format. windows (W, T, h, w) of tokens."""
    made, rows = formats(model), []
    reference = plans_m(model, windows, command)
    for path in paths:
        notes = {f: note for f, (_, note) in made.items() if note}
        usable: dict[str, InferenceModel] = {}
        plans: dict[str, dict[int, Tensor]] = {}
        for f, (m, _) in made.items():
            if m is None:
                continue
            usable[f], notes[f] = attempt(partial(for_inference, m, path, samples=max(SAMPLES)))
            if notes[f]:
                continue
            found, notes[f] = attempt(partial(plans_m, usable[f], windows, command))
            if found and all(bool(p.isfinite().all()) for p in found.values()):
                plans[f] = found
            elif found:
                notes[f] = "its plans are not finite"
        times = plan_times({f: usable[f] for f in plans}, windows[0], setting)
        for f, (m, _) in made.items():
            row: Row = {"model": name, "path": path, "format": f, "note": notes[f]}
            if f in plans and m is not None:
                row["megabytes"] = weight_bytes(m) / 1e6
                for k in SAMPLES:
                    row[f"max_cm_{k}"], row[f"median_cm_{k}"] = difference_cm(plans[f][k], reference[k])
                    row[f"time_{k}"] = times[k][f]
            rows.append(row)
    return rows


def random_model(spec: ModelSpec) -> tuple[VaVAM, Tensor]:
    """Random weights of which none is zero, and a window of random tokens (1, T, h, w)."""
    generator, v = torch.Generator("cpu").manual_seed(0), spec.video
    model = VaVAM(spec, device="cpu")
    init_weights(model, generator, video_std=0.1, action_std=0.2, zero_query=False, readout_std=0.2)  # as random_artifact
    return model.eval(), torch.randint(v.vocabulary - 1, (1, v.frames, v.grid_h, v.grid_w), generator=generator)


def measure(drive: Drive, random: ModelSpec, artifact: LoadedArtifact | None, setting: Setting, *, windows: int, paths: Sequence[str] = PATHS) -> list[Row]:
    """A model of the sizes `random` with random weights on random tokens, and the artifact's on windows of the drive."""
    model, tokens = random_model(random)
    rows = compare(f"{random.name}, random", model, tokens, 0, setting, paths)
    if artifact is not None:
        spec = artifact.card.spec
        seen = [as_input(rgb, artifact.card.tokenizer) for w in drive.windows(windows, spec.video.frames, spec.frame_dt_s) for rgb in w]
        with torch.no_grad():
            codes = rearrange(encoded(artifact.tokenizer, seen), "(w t) i j -> w t i j", w=windows)
        name = artifact.card.model_id + ("" if artifact.card.trained else ", random")
        rows += compare(name, artifact.model, codes, straight_on(artifact), setting, paths)
    return rows


def table(rows: list[Row]) -> str:
    """For people."""
    shown: dict[str, tuple[str, str]] = {}
    for k in SAMPLES:
        shown |= {f"max_cm_{k}": (f"K={k}: max cm", ".3f"), f"median_cm_{k}": ("median cm", ".3f"), f"time_{k}": ("time / fp32", ".3f")}
    return columns(rows, shown | {"megabytes": ("weights MB", ".1f")}, ("model", "path", "format"))
