"""`vavam-train data`: raw drives to token sets (import) and pictures, whether a set is whole (verify), and what is in it (check)."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml

from vavam_ros.core.camera import CANONICAL_CAMERAS, CanonicalCamera
from vavam_training.contracts import ADVICE_STEPS, DataError, Domain
from vavam_training.dataset import Manifest
from vavam_training.sources import KINDS, CameraMode
from vavam_training.sources.rosbag import TokensFrom

ACTIONS = ("import", "pictures", "verify", "check")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vavam-train data`."""
    what = "import: drives → token set; pictures: drives → what a tokenizer learns from; verify: compare a set with its hashes; check: a page of what is in it"
    parser.add_argument("action", choices=ACTIONS, help=what)
    parser.add_argument("--path", required=True, help="import: where the drives are; verify, check: the set, a folder or an address that fsspec knows")
    parser.add_argument("--source", choices=sorted(KINDS), default="rosbag", help="what kind of drives (default %(default)s)")
    parser.add_argument("--out", type=Path, help="folder of the set; an import that was interrupted goes on there; check: the page (default: NAME.html)")
    parser.add_argument("--tokenizer", type=Path, metavar="DIR", help="tokenizer or model directory; not needed where tokens were recorded")
    parser.add_argument("--name", help="of the set (default: the name of its folder)")
    parser.add_argument("--device", default="cpu", help="that encodes (default %(default)s); cuda: with torchrun, one GPU a process")
    parser.add_argument("--batch", type=int, help="pictures encoded together (default: 8 on a CPU, whose caches more would leave; else 64)")
    parser.add_argument("--looks", type=int, metavar="SEED", help="pictures in another light for each drive, of this seed (tokenizing/looks.py)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="pictures: keep every n-th (default: all)")
    parser.add_argument("--image-hw", type=int, nargs=2, metavar=("H", "W"), help="pictures: size to keep (default: the camera's)")
    parser.add_argument("--drives", type=int, default=0, metavar="N", help="check: look at N drives, evenly chosen (default: all); hashes are of all")
    parser.add_argument("--frames", type=int, metavar="T", help="check: context frames of a window (default: 8)")
    add_reading_arguments(parser)


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """How drives are read, whoever reads them."""
    cameras = ", ".join(CANONICAL_CAMERAS)
    parser.add_argument("--camera", metavar="NAME|FILE", help=f"canonical camera: a YAML file, or one of {cameras} (default: the model directory's)")
    parser.add_argument(
        "--camera-mode", choices=get_args(CameraMode), default="warp", help="resize: as upstream, whatever is known of the camera (default: warp)"
    )
    parser.add_argument("--licence", help="of the drives; needed unless they state one")
    parser.add_argument("--domain", choices=get_args(Domain), help="where the pictures come from (default: as the source says)")
    parser.add_argument("--skip-bad", action="store_true", help="list drives that cannot be used in the manifest, and go on")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="further options of the source, by their names there")
    parser.add_argument("--rate-hz", type=float, help="frames a second to keep (default: all)")
    bags = parser.add_argument_group("bags")
    bags.add_argument("--tokens", choices=get_args(TokensFrom), help="recorded FrameTokens or pictures (default: FrameTokens where they are of this tokenizer)")
    bags.add_argument("--rear-axle-x", type=float, metavar="M", help="x of the rear axle in the odometry's frame (default: as recorded, else 0; world: -1.4)")
    for topic in ("image", "odometry", "camera-info", "command"):
        bags.add_argument(f"--{topic}-topic", help="where several could be meant")


def run(args: argparse.Namespace) -> int:
    """0 when all went well. Raises VavamError."""
    return {"import": import_set, "pictures": _pictures, "verify": _verify, "check": _check}[args.action](args)


def _pictures(args: argparse.Namespace) -> int:
    from vavam_training.pictures import keep_pictures
    from vavam_training.sources import open_source

    if args.out is None or not args.camera:
        raise DataError("data pictures: give --out DIR and --camera NAME, what the tokenizer is to look through")
    camera = _camera(args.camera)
    options = _options(args)
    source = open_source(args.source, args.path, **options)
    h, w = args.image_hw or (camera.height, camera.width)
    store = keep_pictures(source, camera, (h, w), args.out, every=args.every, skip_bad=args.skip_bad)
    print(f"{args.out}: {sum(n for n, _ in store.drives.values())} pictures of {len(store.drives)} drives, digest {store.digest}")
    return 0


def _verify(args: argparse.Namespace) -> int:
    from vavam_training.dataset import TokenDataset

    dataset = TokenDataset.open(args.path)
    dataset.verify()
    print(f"{args.path}: whole. {_totals(dataset.manifest)}")
    for skipped in dataset.manifest.skipped:
        print(f"  skipped {skipped.what}: {skipped.why}")
    return 0


def _check(args: argparse.Namespace) -> int:
    import torch

    from vavam_training.checking.report import check
    from vavam_training.windows import WindowSpec

    tokenizer, device = None, torch.device(args.device)
    if args.tokenizer is not None:
        from vavam_training.tokenizing.load import load_tokenizer_dir

        tokenizer = load_tokenizer_dir(args.tokenizer, device).eval()
    out = args.out or Path(f"{args.path.rstrip('/').rsplit('/', 1)[-1]}.html")
    spec = WindowSpec() if args.frames is None else WindowSpec(frames=args.frames)
    dataset, found = check(args.path, out, tokenizer=tokenizer, device=device, spec=spec, drives=args.drives)
    print(f"{args.path}: whole. {_totals(dataset.manifest)}")
    for finding in found:
        print(f"  {'look: ' if finding.look else ''}{finding.text}")
    print(f"page: {out}")
    return 0


def _totals(m: Manifest) -> str:
    return f"{len(m.drives)} drives, {m.frames} frames, {m.hours:.2f} h, {len(m.skipped)} skipped, digest {m.digest}"


def import_set(args: argparse.Namespace) -> int:
    """Drives → token set. Raises VavamError."""
    import torch

    from vavam_training.sources import open_source
    from vavam_training.tokenizing.encode import DriveEncoder
    from vavam_training.tokenizing.importing import import_drives
    from vavam_training.tokenizing.share import Share

    if args.out is None:
        raise DataError("data import: where to? Give --out DIR")
    share = Share.from_environment()
    device = torch.device(f"cuda:{share.local_rank}" if args.device == "cuda" else args.device)
    meaning = _meaning(args, device)
    options = _options(args)
    if args.source in ("rosbag", "upstream"):
        options.setdefault("tokenizer_id", meaning.tokenizer_id)
    if args.source == "upstream" and meaning.tokenizer is not None:
        options = {"grid_hw": meaning.grid_hw, "codebook_size": meaning.codebook_size} | options
    source = open_source(args.source, args.path, **options)
    if meaning.tokenizer is None:
        meaning = _recorded(source)
    licence = args.licence or source.licence
    if not licence:
        raise DataError(f"the licence of {args.path} is not known: give --licence; what is trained on these drives inherits it")
    batch = args.batch if args.batch is not None else (8 if device.type == "cpu" else 64)
    advised = bool(options.get("advice_topic"))
    encoder = DriveEncoder(
        meaning.tokenizer, meaning.camera, tokenizer_id=meaning.tokenizer_id, device=device, batch=batch, advised=advised, looks_seed=args.looks
    )
    with _writer(args, source.name, licence, args.domain or source.domain, meaning, advised) as writer:
        done = import_drives(source, encoder, writer, share, skip_bad=args.skip_bad)
    share.leave()
    if done.manifest is not None:
        print(f"{args.out}: {_totals(done.manifest)}")
        print(f"this process: {done.drives} drives, {done.frames} frames in {done.seconds:.1f} s, {done.frames / max(done.seconds, 1e-9):.1f} frames/s")
    return 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Meaning:
    """What the tokens of a set mean."""

    tokenizer: Any  # VQ16; None: only recorded tokens can be taken
    tokenizer_id: str
    spec: dict[str, Any]
    grid_hw: tuple[int, int]
    codebook_size: int
    camera: CanonicalCamera | None


def _meaning(args: argparse.Namespace, device: Any) -> _Meaning:
    camera = _camera(args.camera) if args.camera else None
    if args.tokenizer is None:
        return _Meaning(tokenizer=None, tokenizer_id="", spec={}, grid_hw=(0, 0), codebook_size=0, camera=camera)
    from vavam_training.tokenizing.load import load_tokenizer_dir, tokenizer_camera

    tokenizer = load_tokenizer_dir(args.tokenizer, device)
    camera = camera or tokenizer_camera(args.tokenizer)
    return _Meaning(
        tokenizer=tokenizer.eval(),
        tokenizer_id=tokenizer.tokenizer_id,
        spec=tokenizer.spec.to_dict(),
        grid_hw=tokenizer.spec.grid_hw,
        codebook_size=tokenizer.codebook_size,
        camera=camera,
    )


def _recorded(source: Any) -> _Meaning:
    """As the first recorded tokens are. Without a tokenizer there is nothing else to tell what they mean."""
    drives = source.drives()
    known = len(source.skipped)
    frame = next((f for d in drives[:1] for f in source.frames(d)), None)
    del source.skipped[known:]  # it will be read again
    if frame is None or frame.tokens is None or not drives[0].tokenizer_id or not drives[0].codebook_size:
        raise DataError(f"{source.name}: no recorded tokens that name their tokenizer: give the tokenizer that encodes the pictures (--tokenizer DIR)")
    h, w = frame.tokens.shape
    return _Meaning(tokenizer=None, tokenizer_id=drives[0].tokenizer_id, spec={}, grid_hw=(h, w), codebook_size=drives[0].codebook_size, camera=None)


def _camera(choice: str) -> CanonicalCamera:
    if choice in CANONICAL_CAMERAS:
        return CANONICAL_CAMERAS[choice]
    path = Path(choice)
    if not path.is_file():
        raise DataError(f"--camera: got {choice!r}, expected a YAML file or one of {', '.join(CANONICAL_CAMERAS)}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {error}; expected the YAML of a canonical camera") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: got {type(content).__name__}, expected the keys of a canonical camera (name, width, height, fx, fy, cx, cy, mount)")
    return CanonicalCamera.from_dict(content)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """Options of the source: those that were given."""
    options: dict[str, Any] = {}
    for text in args.option:
        name, equals, value = text.partition("=")
        if not equals:
            raise DataError(f"--option: got {text!r}, expected NAME=VALUE")
        options[name.replace("-", "_")] = yaml.safe_load(value)
    topics = ("image_topic", "odometry_topic", "camera_info_topic", "command_topic")
    own = {"tokens": args.tokens, "rear_axle_x_m": args.rear_axle_x, "rate_hz": args.rate_hz, **{t: getattr(args, t) for t in topics}}
    options |= {name: value for name, value in own.items() if value is not None}
    return options | {"skip_bad": args.skip_bad, "camera_mode": args.camera_mode}


def _writer(args: argparse.Namespace, source: str, licence: str, domain: Domain, meaning: _Meaning, advised: bool) -> Any:
    from vavam_training.dataset import TokenWriter
    from vavam_training.revision import git_revision

    return TokenWriter(
        args.out,
        name=args.name or args.out.name,
        source=source,
        licence=licence,
        domain=domain,
        tokenizer_id=meaning.tokenizer_id,
        tokenizer=meaning.spec,
        canonical_camera=meaning.camera.to_dict() if meaning.camera else {},
        grid_hw=meaning.grid_hw,
        codebook_size=meaning.codebook_size,
        git_revision=git_revision(),
        advice_steps=ADVICE_STEPS if advised else 0,
        looks_seed=args.looks,
    )
