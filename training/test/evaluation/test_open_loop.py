"""Open loop: known errors of made-up samples, baselines on a circle, and which drives count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from vavam_ros.core.contracts import Command, ConfigError
from vavam_ros.core.model import VaVAM, init_weights
from vavam_ros.core.model.flow import plan_noise
from vavam_training.contracts import DataError
from vavam_training.dataset import TokenDataset
from vavam_training.evaluation.baselines import carried_on, motion_before
from vavam_training.evaluation.held_out import HeldOutChoice, find_held_out, open_parts
from vavam_training.evaluation.open_loop import OpenLoopConfig, Predictions, errors, predict
from vavam_training.evaluation.open_loop_scores import score, speed_bins
from vavam_training.evaluation.statistics import DriveBootstrap
from vavam_training.mixing import DataConfig, InMemoryDataset, Part, split_drives
from vavam_training.windows import WindowSpec, labels

SPEC = WindowSpec.of(tiny.SPEC, labelled=True)


def made_up() -> Predictions:
    """Two windows of two drives, two samples: in the first sample 1 is off by 1 m everywhere, sample 0 by 3 m; in the second one ends right but is late."""
    truth = np.zeros((2, 4, 2), np.float32)
    truth[:, :, 0] = np.arange(1, 5)
    samples = np.repeat(truth[:, None], 2, axis=1)
    samples[0, 0, :, 1], samples[0, 1, :, 1] = 3.0, 1.0
    samples[1, 0, :3, 1], samples[1, 1, :, 1] = 4.0, 1.0
    zero = np.zeros(2, np.int64)
    return Predictions(
        samples_m=samples, truth_m=truth, medoid=zero, cv_m=truth + 2.0 * np.array([0.0, 1.0]), ctrv_m=truth.astype(np.float64), speed_mps=np.array([2.0, 7.0]),
        yaw_rate_radps=np.zeros(2), command=np.array([int(Command.LEFT), int(Command.STRAIGHT)]), stamp_ns=zero, drive=np.array([0, 1]), part=zero, dt_s=0.5,
    )  # fmt: skip


def test_smallest_errors_of_made_up_samples() -> None:
    found = errors(made_up())
    np.testing.assert_allclose(found["min_ade_m"], [1.0, 1.0])
    np.testing.assert_allclose(found["min_fde_m"], [1.0, 0.0])  # not the sample of the smallest mean
    np.testing.assert_allclose(found["medoid_ade_m"], [3.0, 3.0])
    np.testing.assert_allclose(found["cv_fde_m"], 2.0)
    np.testing.assert_allclose(found["ctrv_ade_m"], 0.0)
    np.testing.assert_allclose(errors(made_up(), 2)["medoid_ade_m"], [3.0, 4.0])


def test_tables_by_command_speed_and_second() -> None:
    p = made_up()
    scores = score(p, ("made",), DriveBootstrap(p.drive, seed=0, resamples=50))
    assert scores.overall.metrics["min_fde_m"].value == pytest.approx(0.5)
    by_command = {s.name: s.metrics["min_fde_m"] for s in scores.by_command}
    assert (by_command["left"].value, by_command["straight"].value, by_command["right"].windows) == (1.0, 0.0, 0)
    by_speed = {s.name: s.metrics["min_fde_m"] for s in scores.by_speed}
    assert (by_speed["0.5 to 5 m/s"].value, by_speed["5 to 10 m/s"].value) == (1.0, 0.0)
    assert [h.horizon_s for h in scores.by_horizon] == [0.5, 1.0, 1.5, 2.0]
    assert [c.time_s for c in scores.calibration] == [1.0, 2.0]


def test_errors_ahead_and_to_the_side_are_those_of_the_parts_of_the_distance() -> None:
    p = made_up()
    scores = score(p, ("set",), DriveBootstrap(p.drive, seed=0, resamples=50))
    assert [(a.time_s, a.axis) for a in scores.by_axis] == [((h + 1) * p.dt_s, axis) for axis in ("ahead", "side") for h in range(p.horizon)]
    chosen = p.samples_m[np.arange(len(p.drive)), p.medoid]
    for i, found in enumerate(scores.by_axis):
        axis, h = divmod(i, p.horizon)
        assert found.errors["planner"].value == pytest.approx(np.sqrt(np.mean((chosen[:, h, axis] - p.truth_m[:, h, axis]) ** 2)), abs=1e-6)
        assert found.errors["truth"].value == pytest.approx(np.std(p.truth_m[:, h, axis]), abs=1e-6)
    assert set(scores.to_dict()["by_axis"][0]) == {"time_s", "axis", "planner", "mean", "ctrv", "truth"}


def test_unknown_speeds_have_a_bin_of_their_own() -> None:
    bins = dict(speed_bins(np.array([-0.2, 5.0, np.nan])))
    assert bins["below 0.5 m/s"].tolist() == [True, False, False]
    assert bins["5 to 10 m/s"].tolist() == [False, True, False]
    assert bins["unknown"].tolist() == [False, False, True]


def test_constant_turn_rate_is_right_on_a_circle_and_constant_velocity_is_not() -> None:
    rows = tiny.rows("circle", hz=10.0)
    held_out = find_held_out([Part(name="made", dataset=InMemoryDataset([rows]))], SPEC, 0.0)
    [drive] = held_out.drives
    motion = motion_before(rows, drive.index[:, -1])
    np.testing.assert_allclose(motion.speed_mps, 3.0, rtol=1e-6)
    np.testing.assert_allclose(motion.yaw_rate_radps, 3.0 / 20.0, rtol=1e-6)
    truth = labels(rows, drive.index, SPEC)[0][:, -1]
    straight, circle = carried_on(motion, SPEC.horizon, SPEC.waypoint_dt_s)
    np.testing.assert_allclose(circle, truth, atol=1e-4)
    assert np.abs(straight - truth).max() > 0.5
    assert np.isnan(motion_before(rows, np.array([0])).speed_mps).all()  # nothing came before


def test_samples_are_those_of_the_seed_and_do_not_depend_on_the_batch() -> None:
    model = VaVAM(tiny.SPEC, device="cpu", dtype=torch.float32).eval()
    init_weights(model, torch.Generator("cpu").manual_seed(0), video_std=0.1, action_std=0.1)
    data = InMemoryDataset([tiny.rows("a", 20), tiny.rows("bb", 20, seed=1)])
    held_out = find_held_out([Part(name="made", dataset=data)], SPEC, 0.0)
    ids = {c: int(c) for c in Command}
    found = [predict(model, held_out, OpenLoopConfig(samples=3, seed=4, batch=b), ids, torch.device("cpu"), lambda n: n) for b in (1, 5)]
    np.testing.assert_allclose(found[0].samples_m, found[1].samples_m, atol=1e-4)
    other = predict(model, held_out, OpenLoopConfig(samples=3, seed=5, batch=5), ids, torch.device("cpu"), lambda n: n)
    assert np.abs(other.samples_m - found[0].samples_m).max() > 0.1
    window = held_out.drives[1].index[2]
    tokens = torch.from_numpy(data.rows(1).tokens[window].astype(np.int64))[None]
    at = len(held_out.drives[0].index) + 2
    stamp = int(data.rows(1).stamp_ns[window[-1]])
    with torch.inference_mode():
        own = model.sample(model.context(tokens), plan_noise(4, stamp, (3, 4, 2), device="cpu"), torch.tensor([int(found[0].command[at])]))
    np.testing.assert_allclose(own.numpy(), found[0].samples_m[at], atol=1e-4)


def test_held_out_drives_are_those_of_the_run(tmp_path: Path) -> None:
    tiny.token_set(tmp_path / "set", grid_hw=(2, 3), codebook_size=16, drives=8)
    dataset = TokenDataset.open(tmp_path / "set")
    config = tmp_path / "data.yaml"
    config.write_text(f"parts: [{{name: own, path: {tmp_path / 'set'}, held_out_share: 0.4, held_out_seed: 3}}]")
    expected = split_drives(dataset.drive_names, 0.4, 3)[1]
    assert 0 < len(expected) < 8
    opened = open_parts([config], HeldOutChoice())
    assert [tuple(p.drives or ()) for p in opened.parts] == [expected]
    of_run = open_parts([tmp_path / "set"], HeldOutChoice(), recipe=opened.config)
    assert tuple(of_run.parts[0].drives or ()) == expected
    assert of_run.chosen == ("own: held out by the recipe, 0.4 with seed 3",)
    assert of_run.by_recipe
    alone = open_parts([tmp_path / "set"], HeldOutChoice())
    assert tuple(alone.parts[0].drives or ()) == tuple(range(8))
    assert alone.chosen == ("made: all drives",)
    assert not alone.by_recipe
    with pytest.raises(DataError, match="learned from all"):
        open_parts([tmp_path / "set"], HeldOutChoice(), recipe=DataConfig.from_dict({"parts": [{"name": "own", "path": str(tmp_path / "set")}]}))
    with pytest.raises(DataError, match="no drives"):
        open_parts([tmp_path / "set"], HeldOutChoice(drives=("nowhere",)))
    with pytest.raises(ConfigError, match="one of the two"):
        HeldOutChoice(drives=("a",), share=0.1)


def test_windows_apart() -> None:
    part = Part(name="made", dataset=InMemoryDataset([tiny.rows("a", 60, hz=10.0)]))
    whole, thin = find_held_out([part], SPEC, 0.0), find_held_out([part], SPEC, 1.0)
    newest = thin.drives[0].rows.stamp_ns[thin.drives[0].index[:, -1]]
    assert np.diff(newest).min() >= 0.95e9
    assert sum(thin.left_out["made"].values()) == sum(whole.left_out["made"].values()) + whole.windows - thin.windows


def test_a_trajectory_across_a_push_is_no_truth() -> None:
    """A metre to the side before frame 10: windows whose newest frame comes before that, and whose waypoints lie after it, are left out and counted."""
    rows = tiny.rows("pushed", 30)
    rows.position_m[10:] += np.array([0.0, 1.0, 0.0])
    part, spec = Part(name="made", dataset=InMemoryDataset([rows])), WindowSpec.of(tiny.SPEC, labelled=True, max_sideways_m=0.3)
    whole, fair = find_held_out([part], SPEC, 0.0), find_held_out([part], spec, 0.0)
    assert set(range(6, 10)) == set(whole.drives[0].index[:, -1].tolist()) - set(fair.drives[0].index[:, -1].tolist())
    assert fair.left_out["made"]["the vehicle was moved meanwhile"] == 4
