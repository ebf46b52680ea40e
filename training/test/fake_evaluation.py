"""What tests of the evaluation share: pictures with classes, and a stand-in for the world's command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from vavam_training.pictures.store import CLASSES, MANIFEST, PARTS

HW = (32, 64)  # a grid of 2 × 4 patches

WORLD = """#!/bin/sh
while [ $# -gt 0 ]; do [ "$1" = --out ] && out=$2; [ "$1" = --suite ] && suite=$2; words="$words $1"; shift; done
[ "$suite" = broken ] && exit 2
mkdir -p "$out"
echo "{\\"routes\\": {\\"vavam\\": []}, \\"words\\": \\"$words\\"}" > "$out/evaluation.json"
[ "$suite" = lost ] && exit 1
exit 0
"""


def write_world(path: Path) -> Path:
    """The stand-in, as a file that can be run."""
    path.write_text(WORLD)
    path.chmod(0o755)
    return path


def label_store(path: Path, drives: int = 2, pictures: int = 4) -> Path:
    """As `data pictures` keeps them (test_pictures.py: from bags): whole pictures of one class."""
    (path / PARTS).mkdir(parents=True)
    for d in range(drives):
        classes = (np.arange(pictures)[:, None, None] % 3 * np.ones((1, *HW))).astype(np.uint8)
        np.save(path / PARTS / f"drive-{d}{CLASSES}", classes)
        np.save(path / PARTS / f"drive-{d}.npy", 80 * classes[..., None].repeat(3, axis=3))
    known = {f"drive-{d}": (pictures, "") for d in range(drives)}
    about = {"image_hw": HW, "canonical_camera": {}, "source": "made", "licence": "CC0", "domain": "synthetic_world", "drives": known}
    (path / MANIFEST).write_text(json.dumps(about))
    return path
