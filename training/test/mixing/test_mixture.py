"""The k-th sample is a function of seed and k alone."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch

from vavam_ros.core.contracts import ConfigError
from vavam_training.contracts import Batch, DataError, DriveRows, ResumeError
from vavam_training.mixing import InMemoryDataset, Loader, Mixture, Part, split_drives
from vavam_training.windows import WindowSpec, find_windows

SPEC = WindowSpec(frames=3, horizon=4)


def drive(name: str, n: int = 80, *, speed_mps: float = 5.0, first: int = 0) -> DriveRows:
    """Straight ahead at 10 Hz; the tokens are the row numbers."""
    stamps = 10**9 + np.arange(n, dtype=np.int64) * 10**8
    position = np.zeros((n, 3))
    position[:, 0] = np.arange(n) * 0.1 * speed_mps
    return DriveRows(
        name=name, source="test", stamp_ns=stamps, tokens=(first + np.arange(n, dtype=np.uint16))[:, None, None].repeat(2, 1).repeat(3, 2), position_m=position,
        rotation_wxyz=np.tile([1.0, 0, 0, 0], (n, 1)), speed_mps=np.full(n, speed_mps, np.float32), command=np.full(n, -1, np.int8),
    )  # fmt: skip


def mixture(seed: int = 1, ratios: tuple[float | None, float | None] = (0.75, 0.25), spec: WindowSpec = SPEC) -> Mixture:
    a = InMemoryDataset([drive("a0"), drive("a1", first=100)])
    b = InMemoryDataset([drive("b0", speed_mps=2.0, first=1000)])
    return Mixture([Part(name="a", dataset=a, ratio=ratios[0]), Part(name="b", dataset=b, ratio=ratios[1])], spec, seed)


def test_ratios_hold_and_every_window_comes_before_any_comes_again() -> None:
    m = mixture()
    places = [m.place(k) for k in range(10_000)]
    assert Counter(p.part for p in places) == {0: 7500, 1: 2500}
    mine = [(p.drive, p.row) for p in places if p.part == 0]
    n = m.windows["a"]
    assert len(set(mine[:n])) == n
    assert mine[:n] != mine[n : 2 * n]
    assert set(mine[:n]) == set(mine[n : 2 * n])
    assert mixture().place(4321) == places[4321]
    assert [mixture(seed=2).place(k) for k in range(50)] != places[:50]


def test_without_ratios_an_epoch_is_each_window_once() -> None:
    m = mixture(ratios=(None, None))
    assert len({m.place(k) for k in range(len(m))}) == len(m) == sum(m.windows.values())


def test_windows_in_which_something_happens_come_more_often_where_that_is_asked_for() -> None:
    quiet, brakes = drive("quiet"), drive("brakes")
    t = np.arange(80) * 0.1
    brakes.position_m[:, 0] = np.where(t < 4.0, 5.0 * t, 20.0)  # stands still from 4 s on
    data = InMemoryDataset([quiet, brakes])
    m = Mixture([Part(name="a", dataset=data, emphasis_m=1.5)], SPEC, 0)
    epoch = Counter((p.drive, p.row) for p in (m.place(k) for k in range(len(m._pools[0].places))))
    assert len(epoch) == len(m) == m.windows["a"]
    assert {n for (d, _), n in epoch.items() if d == 0} == {1}
    # frames at rows 20, 25, 30 stop 0, 2.5 and 5 m before 2 s are over: 2.5 m on average, once more
    assert epoch[1, 20] == 2
    assert epoch[1, 0] == 1
    assert max(epoch.values()) <= 5
    plain = Mixture([Part(name="a", dataset=data)], SPEC, 0)
    assert m.digest != plain.digest
    assert len(plain) == len(m)
    with pytest.raises(ConfigError, match="emphasis_m needs trajectories"):
        Mixture([Part(name="a", dataset=data, emphasis_m=1.5)], WindowSpec(frames=3, horizon=4, labelled=False), 0)


def flat(batches: list[Batch]) -> torch.Tensor:
    return torch.cat([b.tokens[:, 0, 0, 0] for b in batches])


def test_the_order_is_the_same_for_any_number_of_workers_and_processes_and_after_going_on() -> None:
    m = mixture()
    plain = list(islice(Loader(m, 8), 6))
    forked = list(islice(Loader(m, 8, workers=2), 6))
    assert torch.equal(flat(plain), flat(forked))
    ranks = [list(islice(Loader(m, 8, rank=r, world_size=2), 6)) for r in (0, 1)]
    together = torch.stack([flat(r).reshape(6, 4) for r in ranks], dim=-1).reshape(-1)
    assert torch.equal(together, flat(plain))
    alone = list(islice(Loader(m, 8, micro_batch=2), 8))  # four parts a step, in one process
    shared = [list(islice(Loader(m, 8, micro_batch=2, rank=r, world_size=2), 4)) for r in (0, 1)]
    assert torch.equal(flat(alone), flat([shared[j % 2][2 * (j // 4) + (j % 4) // 2] for j in range(8)]))
    assert torch.equal(flat(alone[:4]).reshape(4, 2).T.reshape(-1), flat(plain[:1]))
    begun = Loader(m, 8)
    head = list(islice(begun, 2))
    tail = list(islice(Loader.resumed(mixture(), begun.state()), 4))
    assert torch.equal(flat(head + tail), flat(plain))
    with pytest.raises(ResumeError, match="other drives, ratios, windows or seed"):
        Loader.resumed(mixture(seed=5), begun.state())


def test_a_batch_has_frames_half_a_second_apart_and_what_comes_after_each() -> None:
    batch = next(iter(Loader(mixture(), 16)))
    steps = batch.tokens[:, :, 0, 0].diff(dim=1)
    assert (steps == 5).all()
    assert batch.positions_m is not None
    assert batch.positions_m.shape == (16, 3, 4, 2)
    speed = torch.where(batch.source == 0, 5.0, 2.0)
    expected = speed[:, None, None] * torch.tensor([0.5, 1.0, 1.5, 2.0])
    torch.testing.assert_close(batch.positions_m[..., 0], expected.expand(16, 3, 4).contiguous(), atol=1e-5, rtol=0)
    assert (batch.command == 2).all()
    assert next(iter(Loader(mixture(spec=WindowSpec(frames=3, horizon=4, labelled=False)), 4))).positions_m is None


def test_what_is_left_out_is_counted_by_reason() -> None:
    rows = drive("gap", 80)
    rows.stamp_ns[40:] += 700_000_000  # seven frames are missing
    found = find_windows(rows, SPEC)
    assert sum(found.left_out.values()) + len(found.index) == 80
    assert set(found.left_out) == {"the drive ends before the window does", "a frame is missing on the grid", "poses have a gap"}
    rows = drive("jump", 80)
    rows.position_m[40:, 1] += 50.0
    jump = find_windows(rows, SPEC)
    # between rows 39 and 40; a window needs 1 s of frames and then 3 s (rule) after its newest
    assert jump.left_out["the pose jumps"] == 40
    blind = drive("video", 80)
    blind.position_m[:] = np.nan
    assert find_windows(blind, SPEC).left_out == {"no poses (video only)": 80}
    with pytest.raises(DataError, match=r"gives no window \(no poses"):
        Mixture([Part(name="video", dataset=InMemoryDataset([blind]))], SPEC, 0)


def test_held_out_drives_stay_held_out_when_others_come() -> None:
    names = [f"d{i}" for i in range(400)]
    kept, held = split_drives(names, 0.1, 3)
    assert 20 <= len(held) <= 60
    assert sorted(kept + held) == list(range(400))
    assert {names[i] for i in split_drives(names[:200], 0.1, 3)[1]} == {names[i] for i in held if i < 200}


def test_ratios_that_cannot_be_meant() -> None:
    with pytest.raises(ConfigError, match="for every part, or none for all"):
        mixture(ratios=(1.0, None))
    with pytest.raises(ConfigError, match="less than one sample"):
        mixture(ratios=(1.0, 1e-9))
