"""The page of a token set: one HTML file that needs nothing else."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from vavam_training.checking import plots
from vavam_training.checking.contact import Strip
from vavam_training.checking.findings import findings
from vavam_training.checking.numbers import DriveNumbers, SetNumbers
from vavam_training.dataset import Manifest

ROWS = 100  # of a table


def write_page(path: Path, where: str, manifest: Manifest, n: SetNumbers, strips: Sequence[Strip], pictures: str) -> None:
    """`where`: the set's address; `pictures`: how those of the strips were made. The file appears under its name when it is complete."""
    environment = Environment(
        loader=PackageLoader("vavam_training.checking", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    advised = any(d.advised is not None for d in n.drives)
    html = environment.get_template("page.html").render(
        where=where,
        manifest=manifest,
        n=n,
        advised=advised,
        facts=_facts(manifest, n),
        tiles=_tiles(manifest, n),
        findings=findings(manifest, n),
        strips=strips,
        pictures=pictures,
        trajectories=plots.trajectories(n),
        futures=plots.futures(n),
        balance=plots.balance(n),
        rules=[(rule, n.commands(rule)) for rule in n.rules],
        histograms=_histograms(n),
        codes=plots.codes(n),
        change=plots.change(n),
        windows=_windows(n, advised),
        gaps=n.gaps(),
        drives=[_drive(d, n.rule) for d in n.drives[:ROWS]],
        skipped=manifest.skipped,
        why_skipped=Counter(s.why for s in manifest.skipped).most_common(12),
        rows=ROWS,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(html)
    os.chmod(part, 0o644)
    os.replace(part, path)


def _facts(manifest: Manifest, n: SetNumbers) -> list[tuple[str, str]]:
    camera = manifest.canonical_camera
    view = f"{camera['name']} ({camera['width']}×{camera['height']})" if camera else "not known"
    looked = "every drive" if len(n.drives) == n.all_drives else f"{len(n.drives)} of {n.all_drives} drives, evenly chosen"
    return [
        ("source", manifest.source),
        ("licence", manifest.licence),
        ("domain", {"real": "real", "synthetic_world": "the synthetic world"}[manifest.domain]),
        ("tokenizer", f"{manifest.tokenizer_id}, {manifest.codebook_size} codes, {manifest.grid_hw[0]} × {manifest.grid_hw[1]} a frame"),
        ("canonical camera", view),
        ("content", f"whole: every shard ({len(manifest.shards)}) and drive ({len(manifest.drives)}) has its SHA-256; digest {manifest.digest}"),
        ("made by", f"revision {manifest.git_revision or 'unknown'}"),
        ("looked at", looked),
    ]


def _tiles(manifest: Manifest, n: SetNumbers) -> list[tuple[str, str]]:
    km = sum(d.length_m for d in n.drives) / 1000.0
    hours = manifest.hours
    return [
        (f"{len(manifest.drives):,}", "drives" if len(manifest.drives) != 1 else "drive"),
        (f"{hours:.1f} h" if hours >= 1.0 else f"{hours * 60:.1f} min", "from first to last frames"),
        (f"{manifest.frames:,}", "frames"),
        (f"{km:,.1f} km" if km else "–", "driven, by the poses"),
        (f"{n.total('windows'):,}", "windows with trajectories"),
        (f"{n.total('video_windows'):,}", "windows of video"),
        (f"{len(manifest.skipped):,}", "entries of what was left out"),
    ]


def _histograms(n: SetNumbers) -> list[tuple[str, str]]:
    m = n.motion
    lever = "too few turns to say"
    if m.lever_m is not None:
        lever = f"in turns they move like a point {abs(m.lever_m):.2f} m {'ahead of' if m.lever_m >= 0 else 'behind'} one that does not slip sideways"
    error = "no recorded speed" if m.speed_error_mps is None else f"recorded speed {m.speed_scale:.3f} times it, {m.speed_error_mps:.2f} m/s off on average"
    made = [
        (plots.histogram(m.speed, "speed along the vehicle, from the poses [m/s]", at_least=10.0), f"Speed; {error}."),
        (plots.histogram(m.yaw_rate, "yaw rate [rad/s], left positive", at_least=0.2, log=True), "How fast it turns."),
        (plots.histogram(m.curvature, "curvature [1/m], left positive", at_least=0.05, log=True), "How sharply, while moving: 0.1 is a circle of 10 m."),
        (plots.histogram(m.slip, "sideways speed of the poses [m/s]", at_least=0.5, log=True), f"A rear axle hardly moves sideways. Of these poses: {lever}."),
    ]
    return [(uri, caption) for uri, caption in made if uri is not None]


def _windows(n: SetNumbers, advised: bool) -> list[dict[str, Any]]:
    s = n.spec
    kinds = (
        (f"Video: {s.frames} frames at {s.frame_dt_s} s", "video_windows", "left_out_video"),
        ("Advised: and, perhaps, advice" if advised else f"With trajectories: and poses for {s.future_s:.1f} s after the newest", "windows", "left_out"),
    )
    return [{"kind": kind, "count": n.total(count), "reasons": n.reasons(left).most_common()} for kind, count, left in kinds]


def _drive(d: DriveNumbers, rule: str) -> dict[str, Any]:
    turns = d.commands[rule]
    return {
        "d": d,
        "turning": f"{(turns[0] + turns[1]) / turns[:3].sum():.0%}" if turns[:3].sum() else "–",
        "hz": f"{1.0 / d.step_s:.1f}" if d.step_s else "–",
        "length": f"{d.length_m / 1000:.2f}" if d.motion else "–",
        "speed": f"{d.mean_mps:.1f}" if d.motion else "–",
    }
