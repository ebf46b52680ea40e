"""From weights and data to everything that is known of a model: `vavam-train evaluate`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from vavam_ros.core.contracts import Command, ConfigError
from vavam_ros.core.model import VaVAM, VideoModel
from vavam_ros.core.spec import ModelSpec, VideoSpec
from vavam_ros.core.tokenizer import VQ16
from vavam_training.contracts import DataError
from vavam_training.dataset import Manifest
from vavam_training.evaluation.closed_loop import ClosedLoopConfig, check, drive
from vavam_training.evaluation.frechet import OWN, open_features
from vavam_training.evaluation.generation import GenerationConfig, generate
from vavam_training.evaluation.held_out import HeldOut, HeldOutChoice, OpenedParts, find_held_out, open_parts
from vavam_training.evaluation.labelled import memory_and_queries
from vavam_training.evaluation.next_token import loss_rows, token_losses
from vavam_training.evaluation.open_loop import OpenLoopConfig, predict
from vavam_training.evaluation.open_loop_scores import score
from vavam_training.evaluation.page import write_json, write_page
from vavam_training.evaluation.results import LEVEL, Evaluation, OpenLoop
from vavam_training.evaluation.semantics import RetrievalConfig, Semantics, judge, tokenizer_features, video_features
from vavam_training.evaluation.statistics import DriveBootstrap
from vavam_training.mixing.config import DataConfig
from vavam_training.revision import git_revision
from vavam_training.tokenizing.load import load_tokenizer_dir
from vavam_training.weights import OpenedWeights, open_weights
from vavam_training.windows import WindowSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """What is evaluated. `data`: none for the run's own held-out drives; `tokenizer`: none for the artifact's or the recipe's; `every_s`: between windows of a
    drive, 0 for all; `command_rule`: none for the model's (`OpenedWeights.label_rule`); `max_sideways_m`: none for the
    run's (windows.WindowSpec); `layer`: of the video model whose features are read, none for the middle; `labelled`: pictures with classes, one path or two."""

    model: Path
    out: Path
    data: tuple[str, ...] = ()
    choice: HeldOutChoice = field(default_factory=HeldOutChoice)
    grid_hw: tuple[int, int] | None = None
    tokenizer: Path | None = None
    command_rule: str | None = None
    max_sideways_m: float | None = None
    every_s: float = 0.0
    device: str = "cpu"
    open_loop: OpenLoopConfig = field(default_factory=OpenLoopConfig)
    resamples: int = 2000
    windows: int = 64
    shown: int = 4
    features: tuple[str, ...] = OWN
    labelled: tuple[Path, ...] = ()
    class_names: tuple[str, ...] = ()
    pictures: int = 500
    layer: int | None = None
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    closed_loop: ClosedLoopConfig | None = None


def evaluate(config: EvaluateConfig) -> Evaluation:
    """Compute all, write evaluation.json and index.html into `config.out`. Raises VavamError."""
    device = torch.device(config.device)
    if config.closed_loop is not None:
        check(config.model, config.closed_loop)
    opened = open_weights(config.model, device, grid_hw=config.grid_hw)
    opened.model.eval().requires_grad_(False)
    notes = _notes(opened)
    data = open_parts(config.data, config.choice, DataConfig.from_dict(notes["data"]) if notes.get("data") else None)
    video_spec = opened.spec.video if isinstance(opened.spec, ModelSpec) else opened.spec
    _check_tokens(data.manifests[0], video_spec)
    tokenizer = _tokenizer(config, opened, data.manifests[0], device)
    if config.labelled and tokenizer is None:
        raise ConfigError("labelled pictures: got no tokenizer to read them with, expected --tokenizer DIR, or a model directory")
    results: dict[str, Any] = {}
    if config.closed_loop is not None:  # first: what the world refuses, it refuses at once
        results["closed_loop"] = drive(config.model, config.closed_loop, config.out / "closed_loop")
    results |= _video(config, opened, data, tokenizer, device)
    if isinstance(opened.model, VaVAM):
        results["open_loop"] = _open_loop(config, opened, opened.model, data, device)
    if config.labelled and tokenizer is not None:
        results["semantics"] = _semantics(config, _video_of(opened), tokenizer, device)
    banners = [] if data.by_recipe else ["Whether the model learned from some of these drives is not known here: no recipe says that it held them out."]
    if tokenizer is None:
        banners.append("No tokenizer was given: no frames are shown, and no Fréchet distance.")
    facts = _facts(opened, data, config, results.pop("left_out"))
    found = Evaluation(name=opened.source, facts=facts, banners=banners, held_out=data.by_recipe, class_names=config.class_names, **results)
    write_json(config.out / "evaluation.json", to_dict(found, opened, data, config))
    write_page(config.out / "index.html", found)
    return found


def _notes(opened: OpenedWeights) -> dict[str, Any]:
    notes = (opened.meta or {}).get("notes", {})
    return notes if isinstance(notes, dict) else {}


def _video_of(opened: OpenedWeights) -> VideoModel:
    return opened.model.video if isinstance(opened.model, VaVAM) else opened.model


def _check_tokens(manifest: Manifest, spec: VideoSpec) -> None:
    if manifest.grid_hw != (spec.grid_h, spec.grid_w) or manifest.codebook_size > spec.vocabulary:
        got = f"{manifest.grid_hw} tokens of {manifest.codebook_size} codes"
        raise DataError(f"{manifest.name}: got {got}, the model's are {(spec.grid_h, spec.grid_w)} of up to {spec.vocabulary}: give sets of its tokenizer")


def _tokenizer(config: EvaluateConfig, opened: OpenedWeights, manifest: Manifest, device: torch.device) -> VQ16 | None:
    recipe = _notes(opened).get("tokenizer")
    path = config.tokenizer or (Path(recipe) if opened.tokenizer is None and isinstance(recipe, str) and Path(recipe).is_dir() else None)
    found = load_tokenizer_dir(path, device) if path is not None else opened.tokenizer
    if found is not None and found.tokenizer_id != manifest.tokenizer_id:
        raise DataError(f"{manifest.name}: tokens of {manifest.tokenizer_id}, the tokenizer is {found.tokenizer_id}: give the one that made them (--tokenizer)")
    return found.to(device).eval() if found is not None else None


def _video_windows(spec: ModelSpec | VideoSpec) -> WindowSpec:
    return WindowSpec.of(spec, labelled=False) if isinstance(spec, ModelSpec) else WindowSpec(frames=spec.frames, labelled=False)


def _bar(total: int, what: str) -> tqdm[Any]:
    return tqdm(total=total, desc=what, unit="window", disable=None)


def _video(config: EvaluateConfig, opened: OpenedWeights, data: OpenedParts, tokenizer: VQ16 | None, device: torch.device) -> dict[str, Any]:
    held_out = find_held_out(data.parts, _video_windows(opened.spec), config.every_s)
    video, batch = _video_of(opened), config.open_loop.batch
    features = [open_features(name, tokenizer) for name in config.features] if tokenizer is not None else []
    with _bar(held_out.windows, "next token") as bar:
        losses = token_losses(video, held_out, batch=batch, device=device, progress=bar.update)
    bootstrap = DriveBootstrap(losses.drive, seed=config.open_loop.seed, resamples=config.resamples, level=LEVEL)
    generated = None
    if held_out.spec.frames > 1 and config.windows and held_out.windows > 1:
        size = min(data.manifests[0].codebook_size, video.spec.vocabulary)
        wanted = GenerationConfig(windows=config.windows, shown=config.shown, batch=batch, codebook_size=size)
        with _bar(min(config.windows, held_out.windows), "generated frames") as bar:
            generated = generate(video, held_out, tokenizer, features, wanted, device, bar.update)
    return {
        "windows": held_out.windows, "left_out": held_out.left_out, "losses": loss_rows(losses, held_out.parts, bootstrap), "generated": generated,
        "token_losses": losses,
        "loss_by_frame": [bootstrap.mean(column) for column in losses.by_frame.T], "unigram": losses.unigram,
    }  # fmt: skip


def _open_loop(config: EvaluateConfig, opened: OpenedWeights, model: VaVAM, data: OpenedParts, device: torch.device) -> OpenLoop | None:
    """None where no set has poses."""
    notes = _notes(opened)
    rule = config.command_rule or opened.label_rule
    sideways = config.max_sideways_m if config.max_sideways_m is not None else notes.get("max_sideways_m")
    spec = WindowSpec.of(model.spec, labelled=True, command_rule=rule, max_sideways_m=sideways)
    parts = [p for p in data.parts if any(p.dataset.has_motion)]
    if not parts:
        return None
    held_out: HeldOut = find_held_out(parts, spec, config.every_s)
    ids = opened.card.command_ids if opened.card is not None else {c: int(c) for c in Command}
    with _bar(held_out.windows, "trajectories") as bar:
        p = predict(model, held_out, config.open_loop, ids, device, bar.update)
    bootstrap = DriveBootstrap(p.drive, seed=config.open_loop.seed, resamples=config.resamples, level=LEVEL)
    steps = config.open_loop.steps or model.spec.flow.steps
    return OpenLoop(config=config.open_loop, steps=steps, resamples=config.resamples, predictions=p, scores=score(p, held_out.parts, bootstrap))


def _semantics(config: EvaluateConfig, video: VideoModel, tokenizer: VQ16, device: torch.device) -> Semantics:
    stride = tokenizer.spec.stride
    image_hw = video.spec.grid_h * stride, video.spec.grid_w * stride
    layer = range(video.spec.layers)[config.layer] if config.layer is not None else video.spec.layers // 2
    memory, queries = memory_and_queries(config.labelled, most=config.pictures)
    kinds = {f"video model, layer {layer}": video_features(video, tokenizer, layer, device), "tokenizer": tokenizer_features(tokenizer, device)}
    with tqdm(total=len(kinds) * (len(memory) + len(queries)), desc="semantics", unit="picture", disable=None) as bar:
        return judge(memory, queries, kinds, image_hw, config.retrieval, shown=config.shown, progress=bar.update)


def _facts(opened: OpenedWeights, data: OpenedParts, config: EvaluateConfig, left_out: dict[str, dict[str, int]]) -> list[tuple[str, str]]:
    count = sum(p.numel() for p in opened.model.parameters())
    reasons = "; ".join(f"{part}: {reason} {n:,}" for part, why in left_out.items() for reason, n in why.items())
    return [
        ("weights", f"{opened.source}, from {config.model}; {count:,} parameters, {opened.kind}"),
        ("data", "; ".join(f"{m.name}, {m.source}, digest {m.digest}, licence {m.licence}" for m in data.manifests)),
        ("drives", "; ".join(data.chosen)),
        ("windows", f"one every {config.every_s:g} s of a drive" if config.every_s else "all of each drive, neighbours overlap"),
        ("no window", reasons or "nothing left out"),
        ("made by", f"revision {git_revision() or 'unknown'}, torch {torch.__version__} on {config.device}, float32"),
    ]


def to_dict(e: Evaluation, opened: OpenedWeights, data: OpenedParts, config: EvaluateConfig) -> dict[str, Any]:
    """The content of evaluation.json."""
    manifests = [{"name": m.name, "source": m.source, "licence": m.licence, "domain": m.domain, "digest": m.digest} for m in data.manifests]
    drives = [[p.dataset.drive_names[i] for i in (p.drives if p.drives is not None else range(len(p.dataset.drive_names)))] for p in data.parts]
    video: dict[str, Any] = {"windows": e.windows, "next_token": [r.to_dict() for r in e.losses], "unigram_nats": e.unigram}
    video |= {"by_frame": [i.to_dict() for i in e.loss_by_frame], "generated": e.generated.to_dict() if e.generated else None}
    return {
        "format": "vavam_evaluation/1",
        "model": {"source": opened.source, "kind": opened.kind, "step": opened.step, "spec": asdict(opened.spec)},
        "data": [m | {"how": how, "drives": names} for m, how, names in zip(manifests, data.chosen, drives, strict=True)],
        "facts": dict(e.facts),
        "banners": list(e.banners),
        "open_loop": e.open_loop.to_dict(config.every_s) if e.open_loop else None,
        "video": video,
        "semantics": (e.semantics.to_dict() | {"retrieval": asdict(config.retrieval), "class_names": list(e.class_names)}) if e.semantics else None,
        "closed_loop": e.closed_loop.to_dict() if e.closed_loop else None,
    }
