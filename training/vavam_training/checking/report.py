"""From a token set to its page: `vavam-train data check`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from vavam_training.checking.contact import coloured, contact_sheet, decoded, evenly
from vavam_training.checking.findings import Finding, findings
from vavam_training.checking.numbers import look_at
from vavam_training.checking.page import write_page
from vavam_training.contracts import DataError
from vavam_training.dataset import TokenDataset
from vavam_training.windows import WindowSpec

STRIPS, FRAMES = 12, 8  # of the contact sheet: drives, frames of each


def check(
    where: str, out: Path, *, tokenizer: Any = None, device: torch.device | None = None, spec: WindowSpec | None = None, drives: int = 0
) -> tuple[TokenDataset, list[Finding]]:
    """Verify every hash, look at `drives` evenly chosen drives (0: all), write the page. `tokenizer`: decodes the frames that are shown.

    Raises DataError for a set that is damaged, and for a tokenizer of another id."""
    dataset = TokenDataset.open(where)
    manifest = dataset.manifest
    if tokenizer is not None and tokenizer.tokenizer_id != manifest.tokenizer_id:
        raise DataError(f"{where}: its tokens are of {manifest.tokenizer_id}, the tokenizer given is {tokenizer.tokenizer_id}: give the one that made them")
    dataset.verify()
    chosen = evenly(len(dataset), drives or len(dataset))
    with tqdm(total=sum(dataset.drive_lengths[i] for i in chosen), unit="frame", desc="drives", disable=None) as bar:
        n = look_at(dataset, spec or WindowSpec(), codebook_size=manifest.codebook_size, grid_hw=manifest.grid_hw, drives=chosen, progress=bar.update)
    picture = coloured(n.codes.palette()) if tokenizer is None else decoded(tokenizer, device or torch.device("cpu"))
    shown = [chosen[i] for i in evenly(len(chosen), STRIPS)]
    with tqdm(total=len(shown) * FRAMES, unit="picture", desc="contact sheet", disable=None) as bar:
        strips = contact_sheet(dataset, shown, FRAMES, picture, bar.update)
    how = (
        "Not pictures: each token in the colour of its code, hue by how high in the picture that code usually stands. --tokenizer DIR shows what they mean."
        if tokenizer is None
        else f"Decoded from their tokens by {manifest.tokenizer_id}: what a model sees, not what was recorded."
    )
    write_page(out, where, manifest, n, strips, how)
    return dataset, findings(manifest, n)
