"""`vavam convert`: upstream VaVAM or VaViM checkpoint and tokenizer → model directory; `--check-torchscript`: native against scripted tokenizer."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from vavam_ros.cli.inspect import card_rows, print_rows
from vavam_ros.core.artifact import save_artifact
from vavam_ros.core.artifact.golden_check import sample_picture
from vavam_ros.core.artifact.model_card import ModelCard
from vavam_ros.core.camera import CANONICAL_CAMERAS, resize_like_upstream, to_model_input
from vavam_ros.core.contracts import U8, ArtifactError, ConfigError
from vavam_ros.core.spec import with_name
from vavam_ros.core.upstream.checkpoints import open_checkpoint, parse_grid
from vavam_ros.core.upstream.scripted_tokenizer import ScriptedTokenizer
from vavam_ros.core.upstream.tokenizer_files import open_tokenizer

UPSTREAM_LICENCE = "weights of valeoai/VideoActionModel: research use only, see its MODELS.md"
PICTURES = (".jpg", ".jpeg", ".png")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vavam convert`."""
    parser.add_argument("checkpoint", type=Path, nargs="?", help="upstream VaVAM or VaViM .pt; the file says which (unpack .tar.gz parts first)")
    parser.add_argument("--tokenizer", type=Path, nargs="+", required=True, metavar="FILE", help="LlamaGen .pt, or encoder .jit and decoder .jit")
    parser.add_argument("--out", type=Path, help="model directory to write; one that is there is replaced")
    parser.add_argument(
        "--base-shapes", nargs="+", default=[], metavar="FILE|NAME", help="muP base shapes that the file lacks: .bsh, or gpt2_24layers_basewidth256"
    )
    parser.add_argument("--grid", metavar="HxW", help="token grid, where a frame has not 576 tokens (18x32)")
    parser.add_argument("--camera", choices=sorted(CANONICAL_CAMERAS), default="nuscenes_cam_front", help="camera it was trained on (default %(default)s)")
    parser.add_argument("--name", help="name of the model (default: that of the released size, else kind and width)")
    parser.add_argument("--licence", default=UPSTREAM_LICENCE, help="licence of the weights (default: %(default)s)")
    parser.add_argument("--domain", choices=("real", "synthetic_world"), default="real", help="what the model was trained on (default %(default)s)")
    parser.add_argument("--tokenizer-groups", type=int, default=32, help="groups of the tokenizer's normalisation (default %(default)s)")
    check = parser.add_argument_group("parity of the tokenizer")
    check.add_argument("--check-torchscript", action="store_true", help="RUN the two .jit files (a program from outside) and compare tokens; writes nothing")
    check.add_argument("--images", type=Path, help="folder of .jpg and .png for the comparison (default: eight generated pictures)")
    check.add_argument("--min-agreement", type=float, default=0.999, help="share of equal tokens below which the check fails (default %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Convert, or compare; 0 on success. Raises VavamError."""
    if args.check_torchscript:
        return check_torchscript(args)
    if args.checkpoint is None or args.out is None:
        raise ConfigError("convert needs a checkpoint and --out DIR (or --check-torchscript)")
    bar = _bar("checking names")
    upstream = open_checkpoint(args.checkpoint, base_shapes=args.base_shapes, grid_hw=parse_grid(args.grid), progress=bar)
    spec = with_name(upstream.spec, args.name) if args.name else upstream.spec
    upstream = replace(upstream, spec=spec)
    image_hw = (spec.video.grid_h * 16, spec.video.grid_w * 16)
    tokenizer = open_tokenizer(args.tokenizer, image_hw=image_hw, groups=args.tokenizer_groups).build("cpu", _bar("reading tokenizer"))
    card = ModelCard(
        spec=spec,
        tokenizer=tokenizer.spec,
        canonical_camera=CANONICAL_CAMERAS[args.camera].to_dict(),
        domain=args.domain,
        trained=upstream.step is None or upstream.step > 0,
        licence=args.licence,
        kind=upstream.kind,
        source=f"{args.checkpoint.name}, step {upstream.step}; tokenizer {', '.join(p.name for p in args.tokenizer)}",
        notes="" if upstream.kind == "vavam" else "Video model alone; the action section is the expert that upstream trains on this width.",
    )
    model = upstream.build("cpu", _bar("reading model"))
    print("recording the output that the model must reproduce, writing …")
    card = save_artifact(args.out, card, model, tokenizer)
    print_rows(card_rows(card))
    print(f"written to {args.out}")
    return 0


def check_torchscript(args: argparse.Namespace) -> int:
    """Tokens and pictures of the scripted pair beside the native network with the same weights. 0 if enough tokens agree, else 1."""
    files: list[Path] = args.tokenizer
    if len(files) != 2:
        raise ConfigError(f"--check-torchscript: got {len(files)} tokenizer files, expected two, the encoder .jit first")
    grid = parse_grid(args.grid) or (18, 32)
    weights = open_tokenizer(files, image_hw=(grid[0] * 16, grid[1] * 16), groups=args.tokenizer_groups)
    native = weights.build("cpu")
    scripted = ScriptedTokenizer(files[0], files[1], weights.spec, device="cpu")
    equal = total = 0
    worst = 0.0
    pictures = _pictures(args.images, native.spec.image_hw)
    with torch.inference_mode():
        for picture in tqdm(pictures, desc="comparing", unit="picture"):
            ours, theirs = native.encode(picture), scripted.encode(picture)
            equal, total = equal + int((ours == theirs).sum()), total + ours.numel()
            worst = max(worst, float((native.decode(theirs) - scripted.decode(theirs)).abs().max()))
    share = equal / total
    print(f"{equal} of {total} tokens agree ({share:.2%}) in {len(pictures)} pictures; decoded pictures differ by at most {worst:.2g} (range about 2)")
    if share < args.min_agreement:
        print(f"below {args.min_agreement:.2%}: the native network does not do what these files do (wrong --tokenizer-groups, or another architecture)")
    return 0 if share >= args.min_agreement else 1


def _pictures(folder: Path | None, image_hw: tuple[int, int]) -> list[Tensor]:
    """(1, 3, H, W) in [-1, 1]: the files of a folder, or eight generated ones."""
    if folder is None:
        base = sample_picture(*image_hw)[0].numpy()
        rgb = [np.roll(base, 37 * i, axis=1) for i in range(8)]
    else:
        paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES) if folder.is_dir() else []
        rgb = [resize_like_upstream(_read(p), image_hw) for p in paths]
        if not rgb:
            raise ArtifactError(f"--images {folder}: no .jpg or .png there")
    return [to_model_input(np.ascontiguousarray(picture), device=torch.device("cpu"), dtype=torch.float32) for picture in rgb]


def _read(path: Path) -> U8:
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ArtifactError(f"--images: cannot read {path}")
    rgb: U8 = np.ascontiguousarray(bgr[..., ::-1], dtype=np.uint8)
    return rgb


def _bar(what: str) -> Callable[[Sequence[str]], Iterable[str]]:
    """A progress bar over names."""
    return lambda names: tqdm(names, desc=what, unit="tensor")
