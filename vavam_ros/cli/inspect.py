"""`vavam inspect`: what a model directory or an upstream checkpoint is."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from vavam_ros.core.artifact.directory import GOLDEN_FILE, MODEL_FILE, TOKENIZER_FILE, load_artifact, load_video_artifact
from vavam_ros.core.artifact.golden_check import TOLERANCE
from vavam_ros.core.artifact.model_card import ModelCard, read_card
from vavam_ros.core.artifact.tensor_files import listed, tensor_shapes
from vavam_ros.core.contracts import ArtifactError
from vavam_ros.core.spec import ModelSpec
from vavam_ros.core.tokenizer import TokenizerSpec
from vavam_ros.core.upstream.checkpoints import open_checkpoint, parse_grid
from vavam_ros.core.upstream.foreign_pickle import Archive
from vavam_ros.core.upstream.tokenizer_files import names_in, open_tokenizer

Rows = list[tuple[str, str]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vavam inspect`."""
    parser.add_argument("path", type=Path, nargs="+", help="model directory, upstream VaVAM or VaViM .pt, LlamaGen .pt, or the tokenizer's two .jit files")
    parser.add_argument("--no-golden", action="store_true", help="do not load the weights to replay the recorded output")
    parser.add_argument("--device", default="cpu", help="where to replay the recorded output (default %(default)s)")
    parser.add_argument("--base-shapes", nargs="+", default=[], metavar="FILE|NAME", help="muP base shapes for a file that does not hold them")
    parser.add_argument("--tokenizer-groups", type=int, default=32, help="groups of a tokenizer's normalisation (default %(default)s)")
    parser.add_argument("--grid", metavar="HxW", help="token grid of an upstream file whose frames have not 576 tokens")


def run(args: argparse.Namespace) -> int:
    """Print the facts; 0 if the model can be used. Raises VavamError otherwise."""
    first: Path = args.path[0]
    rows = directory_rows(first, args) if first.is_dir() else file_rows(args.path, args)
    print_rows(rows)
    return 0


def print_rows(rows: Rows) -> None:
    """Aligned name and value per line."""
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


def directory_rows(directory: Path, args: argparse.Namespace) -> Rows:
    """A model directory: its card, the sizes of its files and whether it reproduces its recorded output."""
    card = read_card(directory)
    rows = card_rows(card)
    for file in (MODEL_FILE, TOKENIZER_FILE):
        path = directory / file
        rows.append((file, f"{_millions(sum(math.prod(s) for s in tensor_shapes(path).values()))} parameters, {path.stat().st_size / 1e6:.1f} MB"))
    if args.no_golden:
        rows.append(("recorded output", "not replayed"))
    else:
        (load_artifact if card.kind == "vavam" else load_video_artifact)(directory, args.device)
        rows.append(("recorded output", f"reproduced on {args.device} ({GOLDEN_FILE}, within {TOLERANCE:g} of the largest magnitude)"))
    return rows


def card_rows(card: ModelCard) -> Rows:
    """What model.yaml says."""
    camera, warning = card.camera, "" if card.trained else "  ** its paths mean nothing **"
    mount = camera.mount
    return [
        ("model", card.model_id),
        ("kind", "plans (video model and action expert)" if card.kind == "vavam" else "video model alone: cannot plan"),
        ("weights", f"{'trained' if card.trained else 'UNTRAINED'}, domain {card.domain}{warning}"),
        ("licence", card.licence),
        ("source", card.source or "not stated"),
        *([("notes", card.notes)] if card.notes else []),
        *spec_rows(card.spec, with_action=card.kind == "vavam"),
        ("commands", f"{', '.join(f'{k} {v}' for k, v in (card.command_map or {}).items())}; rule {card.command_rule}"),
        (
            "camera",
            f"{camera.name} {camera.width}x{camera.height}, fx {camera.fx:g} fy {camera.fy:g} cx {camera.cx:g} cy {camera.cy:g}, "
            f"at x {mount.x_m:g} y {mount.y_m:g} z {mount.z_m:g} m, roll {mount.roll_rad:g} pitch {mount.pitch_rad:g} yaw {mount.yaw_rad:g} rad",
        ),
        ("tokenizer", f"{card.tokenizer_id}: {_tokenizer_text(card.tokenizer)}"),
    ]


def spec_rows(spec: ModelSpec, *, with_action: bool) -> Rows:
    """Architecture, rates and divisors."""
    v, a, f = spec.video, spec.action, spec.flow
    rows = [
        ("name", spec.name),
        ("video model", f"width {v.width}, {v.layers} layers, {v.heads} heads of {v.head_size}, vocabulary {v.vocabulary}"),
        ("context", f"{v.frames} frames of {v.grid_h}x{v.grid_w} tokens, one per {spec.frame_dt_s:g} s"),
        ("video readout", f"divided by {v.readout_divisor:g} (muP: width {v.width} / base {v.mup_base_width})"),
    ]
    if with_action:
        rows += [
            ("action expert", f"width {a.width}, {a.commands} commands"),
            ("plan", f"{a.horizon} waypoints, one per {spec.waypoint_dt_s:g} s: {spec.horizon_s:g} s"),
            ("action readout", f"divided by {a.readout_divisor:g} (muP: width {a.width} / base {a.mup_base_width})"),
            ("flow", f"{f.steps} Euler steps, sigma {f.sigma_min:g}, {f.action_scale_m:g} m per unit, clip {'none' if f.clip is None else f'{f.clip:g}'}"),
        ]
    return rows


def file_rows(paths: list[Path], args: argparse.Namespace) -> Rows:
    """An upstream file, from its configuration and shapes; the weights stay in it."""
    archives = [Archive(p) for p in paths]
    if all(a.is_torchscript for a in archives):
        rows = [(p.name, f"TorchScript, {len(names_in(p))} tensors of a VQ-16 tokenizer ({listed(list(names_in(p)))})") for p in paths]
        return rows if len(paths) == 1 else [*rows, ("tokenizer", _tokenizer_text(open_tokenizer(paths, groups=args.tokenizer_groups).spec))]
    if len(paths) > 1:
        raise ArtifactError(f"got {len(paths)} files, expected one (only the two .jit files of a tokenizer go together)")
    content = archives[0].load()
    if "hyper_parameters" not in content and "pytorch-lightning_version" not in content:
        return [("kind", "LlamaGen tokenizer"), ("tokenizer", _tokenizer_text(open_tokenizer(paths, groups=args.tokenizer_groups).spec))]
    upstream = open_checkpoint(paths[0], base_shapes=args.base_shapes, grid_hw=parse_grid(args.grid))
    return [
        ("kind", "upstream VaVAM" if upstream.kind == "vavam" else "upstream VaViM: video model alone"),
        ("trained for", "not stated" if upstream.step is None else f"{upstream.step} steps"),
        ("parameters", _millions(upstream.parameters)),
        *spec_rows(upstream.spec, with_action=upstream.kind == "vavam"),
    ]


def _tokenizer_text(t: TokenizerSpec) -> str:
    return (
        f"VQ-{t.stride}, {t.image_hw[0]}x{t.image_hw[1]} pixels to {t.grid_hw[0]}x{t.grid_hw[1]} tokens, {t.codebook_size} codes of {t.code_dim}, "
        f"{t.channels} channels times {'-'.join(map(str, t.encoder_multipliers))}"
    )


def _millions(n: int) -> str:
    return f"{n / 1e6:.1f} M" if n >= 100_000 else str(n)
