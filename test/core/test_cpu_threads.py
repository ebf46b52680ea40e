"""How many CPU threads: as asked, else by the size of the networks."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from vavam_ros.core.artifact import load_artifact
from vavam_ros.core.model.cpu_threads import ONE_THREAD_BELOW, cpu_threads, torch_threads, weights_of


def test_small_networks_get_one_and_others_what_torch_has() -> None:
    assert cpu_threads(ONE_THREAD_BELOW - 1, asked=0, torch_has=8) == 1
    assert cpu_threads(ONE_THREAD_BELOW, asked=None, torch_has=8) == 8
    assert cpu_threads(1, asked=3, torch_has=8) == 3


def test_the_bundled_model_is_small() -> None:
    bundled = load_artifact(Path(__file__).parents[2] / "models" / "world", "cpu", check_golden=False)
    assert 1_000_000 < weights_of(bundled.model, bundled.tokenizer) < ONE_THREAD_BELOW
    assert weights_of(nn.Linear(3, 2), None) == 8


def test_afterwards_it_is_as_before() -> None:
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
