"""Replay: the same bytes in, the same samples out; what cannot be used is refused by name; nothing is left out without a number."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from vavam_ros.bags import BagReader, BagWriter
from vavam_ros.cli import make_bag, replay
from vavam_ros.core.artifact import random_artifact
from vavam_ros.core.artifact.model_card import read_card
from vavam_ros.core.camera import CanonicalCamera
from vavam_ros.core.contracts import BagError, Command, ConfigError, CoverageError, EgoPose, Plan, PoseQuality, Selection
from vavam_ros.core.history.odometry import OdometryConfig
from vavam_ros.core.spec import ActionSpec, ModelSpec, VideoSpec
from vavam_ros.replay import messages
from vavam_ros.replay.clip_bag import clip_for, write_clip
from vavam_ros.replay.evaluate import evaluate
from vavam_ros.replay.road_clip import RoadClip, RoadClipConfig

TINY = ModelSpec(
    name="tiny",
    video=VideoSpec(width=64, layers=2, head_size=32, vocabulary=65, grid_h=9, grid_w=16, mup_base_width=32),
    action=ActionSpec(width=32, mup_base_width=16),
)


def parse(module: object, *argv: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)  # type: ignore[attr-defined]
    return parser.parse_args([str(a) for a in argv])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    random_artifact(folder, TINY)
    return folder


@pytest.fixture(scope="module")
def drive(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drive") / "drive.mcap"
    config = clip_for(CanonicalCamera.from_dict(read_card(model).canonical_camera), width=320, duration_s=6.0)
    write_clip(path, config)
    return path


def test_two_runs_are_bit_equal_and_complete(model: Path, drive: Path, tmp_path: Path) -> None:
    results = [
        replay.replay(parse(replay, drive, "--model", model, "--out", tmp_path / f"{i}.mcap", "--samples", 3, "--device", "cpu", "--report", tmp_path / str(i)))
        for i in (0, 1)
    ]
    a, b = (r.log.plans for r in results)
    assert len(a) == 13  # 6 s at 2 Hz, both ends included
    for p, q in zip(a, b, strict=True):
        assert p.stamp_ns == q.stamp_ns
        np.testing.assert_array_equal(p.xy_ego_m, q.xy_ego_m)
    assert [len(p.context_stamps_ns) for p in a] == [1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8, 8, 8]
    tally = results[0].tally
    assert tally.images == 61 == tally.tokenized + tally.not_due + sum(tally.skipped.values())
    assert tally.odometry == 301
    # what went into the bag is what was planned
    with BagReader(tmp_path / "0.mcap") as reader:
        recorded = [reader.decode(m) for m in reader.messages(["/vavam/samples"])]
        assert reader.topics["/vavam/path_raw"].count == 13
        assert reader.topics["/odometry"].count == 301
        assert reader.pose_quality() == "measured"
    for message, plan in zip(recorded, a, strict=True):
        assert messages.stamp_ns_of(message) == plan.stamp_ns
        np.testing.assert_array_equal(np.reshape(message.xy, plan.xy_ego_m.shape), plan.xy_ego_m)
        assert message.canonical
    page = (tmp_path / "0" / "index.html").read_text(encoding="utf-8")
    assert "untrained" in page
    assert "http" not in page.replace("http-equiv", "")  # nothing from elsewhere
    assert "The camera is not canonical" not in page
    assert len(page) < 6_000_000


def test_another_seed_gives_other_samples(model: Path, drive: Path, tmp_path: Path) -> None:
    options = ["--model", model, "--samples", 2, "--device", "cpu", "--limit-s", 1]
    a, b = (replay.replay(parse(replay, drive, *options, "--out", tmp_path / f"{s}.mcap", "--seed", s)).log.plans for s in (0, 1))
    assert len(a) == len(b) == 3
    assert (a[0].xy_ego_m != b[0].xy_ego_m).any()


def test_plans_made_together_and_streamed_plans_are_those_of_the_same_frames(model: Path, drive: Path, tmp_path: Path) -> None:
    """--batch changes rounding only, and nothing of what is written or kept; --context streaming plans from fewer frames, and says from which."""
    options = [drive, "--model", model, "--samples", 2, "--device", "cpu", "--limit-s", 5]
    alone, together, streamed = (
        replay.replay(parse(replay, *options, "--out", tmp_path / f"{i}.mcap", *more))
        for i, more in enumerate(((), ("--batch", "4"), ("--context", "streaming")))
    )
    assert len(alone.log.plans) == 11
    for a, b in zip(alone.log.plans, together.log.plans, strict=True):
        np.testing.assert_allclose(b.xy_ego_m, a.xy_ego_m, rtol=0, atol=1e-5 * np.abs(a.xy_ego_m).max())
        assert (a.stamp_ns, a.selection.index, a.selection.reason) == (b.stamp_ns, b.selection.index, b.selection.reason)
    assert [f.plan_index for f in alone.log.kept.frames] == [f.plan_index for f in together.log.kept.frames]
    for seen, same in zip(alone.log.kept.frames, together.log.kept.frames, strict=True):
        np.testing.assert_array_equal(seen.recorded, same.recorded)
    assert [len(p.context_stamps_ns) for p in streamed.log.plans] == [1, 2, 3, 4, 5, 6, 7, 8, 5, 6, 7]
    np.testing.assert_allclose(streamed.log.plans[7].xy_ego_m, alone.log.plans[7].xy_ego_m, rtol=0, atol=1e-5 * 250)
    assert len(streamed.log.stage_ms["prepare"]) == 7  # ticks with five frames and more
    with pytest.raises(ConfigError, match="--batch: got 2 with --context streaming"):
        replay.replay(parse(replay, *options, "--out", tmp_path / "x.mcap", "--batch", 2, "--context", "streaming"))


def test_narrow_camera_is_refused_under_warp_and_marked_under_resize(model: Path, tmp_path: Path) -> None:
    K = np.array([[1800.0, 0, 160.0], [0, 1800.0, 120.0], [0, 0, 1]])
    write_clip(tmp_path / "narrow.mcap", RoadClipConfig(width=320, height=240, K=K, duration_s=1.0))
    out = tmp_path / "out.mcap"
    with pytest.raises(CoverageError, match="resize"):
        replay.replay(parse(replay, tmp_path / "narrow.mcap", "--model", model, "--out", out))
    assert not out.exists()
    result = replay.replay(
        parse(replay, tmp_path / "narrow.mcap", "--model", model, "--out", out, "--camera-mode", "resize", "--samples", 2, "--device", "cpu")
    )
    assert not any(p.canonical for p in result.log.plans)
    assert any("not canonical" in w for w in result.warnings)


def test_what_a_bag_lacks_is_named(model: Path, tmp_path: Path) -> None:
    clip = RoadClip(RoadClipConfig(duration_s=1.0, width=32, height=18))

    def bag(name: str, topics: tuple[str, ...]) -> Path:
        with BagWriter(tmp_path / name) as writer:
            for topic in topics:
                writer.add_topic(f"/{topic}", messages.ODOMETRY if topic == "odom" else messages.COMPRESSED_IMAGE)
                message = (
                    messages.odometry(writer, clip.odometry_at(clip.config.start_ns))
                    if topic == "odom"
                    else messages.compressed_image(writer, clip.config.start_ns, "c", b"x", "jpeg")
                )
                writer.write(f"/{topic}", clip.config.start_ns, message)
        return tmp_path / name

    def attempt(path: Path, *more: object) -> None:
        replay.replay(parse(replay, path, "--model", model, "--out", tmp_path / "out.mcap", *more))

    with pytest.raises(BagError, match="empty"):
        attempt(bag("empty.mcap", ()))
    with pytest.raises(BagError, match="no pictures"):
        attempt(bag("blind.mcap", ("odom",)))
    with pytest.raises(BagError, match="no nav_msgs/Odometry"):
        attempt(bag("lost.mcap", ("image",)))
    with pytest.raises(BagError, match="--image-topic"):
        attempt(bag("two.mcap", ("left", "right", "odom")))
    with pytest.raises(ConfigError, match="--camera"):
        attempt(bag("uncalibrated.mcap", ("image", "odom")))
    # a picture that is none is skipped and counted, not fatal
    result = replay.replay(parse(replay, tmp_path / "uncalibrated.mcap", "--model", model, "--out", tmp_path / "o.mcap", "--camera-mode", "resize"))
    assert (result.tally.images, result.tally.tokenized, sum(result.tally.skipped.values())) == (1, 0, 1)
    assert result.evaluation is None


def test_the_drive_is_never_replaced_by_its_plans(model: Path, drive: Path) -> None:
    before = drive.read_bytes()
    with pytest.raises(ConfigError, match="the drive itself"):
        replay.replay(parse(replay, drive, "--model", model, "--out", drive.parent / "." / drive.name, "--overwrite"))
    assert drive.read_bytes() == before


def test_a_cut_off_bag_is_refused_with_the_fix(model: Path, drive: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(drive.read_bytes()[:5000])
    with pytest.raises(BagError, match="mcap recover"):
        replay.replay(parse(replay, cut, "--model", model, "--out", tmp_path / "o.mcap"))


def plan_at(clip: RoadClip, stamp_ns: int, xy: np.ndarray) -> Plan:
    sample = clip.odometry_at(stamp_ns)
    pose = EgoPose(
        stamp_ns=stamp_ns,
        odom_frame_id="odom",
        T_odom_ego=sample.T_odom_base,
        linear_mps=sample.linear_mps,
        angular_radps=sample.angular_radps,
        quality=PoseQuality.MEASURED,
    )
    return Plan(
        stamp_ns=stamp_ns,
        epoch=0,
        model_id="m",
        command=Command.STRAIGHT,
        xy_ego_m=xy.astype(np.float32),
        dt_s=0.5,
        selection=Selection(index=0, reason="first", spread_m=np.zeros(3, np.float32)),
        violations=(),
        context_stamps_ns=(stamp_ns,),
        pose=pose,
        canonical=True,
    )


def test_errors_against_hand_computation() -> None:
    """On a straight road at 10 m/s: the truth is (5, 0), (10, 0) …; sample 0 lies 1 m left throughout, sample 1 falls behind by 0.5 m a step."""
    clip = RoadClip(RoadClipConfig(curve_m=0.0, speed_change_mps=0.0, duration_s=5.0, width=32, height=18))
    steps = np.arange(1, 7)
    truth = np.stack([5.0 * steps, 0.0 * steps], axis=1)
    samples = np.stack([truth + np.array([0.0, 1.0]), truth - np.stack([0.5 * steps, 0.0 * steps], axis=1)])
    start = clip.config.start_ns
    plans = [plan_at(clip, start + 500_000_000, samples), plan_at(clip, start + 3_500_000_000, samples)]  # the second sees 1.5 s of future
    evaluation = evaluate(plans, list(clip.odometry()), OdometryConfig())
    assert evaluation is not None
    np.testing.assert_allclose(evaluation.truths[0].xy_ego_m, truth, atol=1e-4)
    assert [t.waypoints for t in evaluation.truths] == [6, 3]
    one, two, three = evaluation.scores
    assert (one.count, two.count, three.count) == (2, 1, 1)
    assert one.ade_m == pytest.approx(1.0, abs=1e-4)
    assert one.min_ade_m == pytest.approx(0.75, abs=1e-4)  # (0.5 + 1.0) / 2 of sample 1
    assert one.min_fde_m == pytest.approx(1.0, abs=1e-4)  # both end 1 m away
    assert three.ade_m == pytest.approx(1.0, abs=1e-4)
    assert three.min_ade_m == pytest.approx(1.0, abs=1e-4)  # sample 1: 1.75
    assert three.fde_m == pytest.approx(1.0, abs=1e-4)
    for score in evaluation.scores:  # both baselines are exact on this road
        assert score.cv_fde_m == pytest.approx(0.0, abs=1e-4)
        assert score.ctrv_fde_m == pytest.approx(0.0, abs=1e-4)


def test_real_clip(shared_data: Path, model: Path, tmp_path: Path) -> None:
    """The real drive: 10 % coverage is refused; resized, it runs, with the odometry said to be estimated."""
    assert make_bag.run(parse(make_bag, shared_data / "udacity_ch2_hmb3", "--out", tmp_path / "u.mcap")) == 0
    with pytest.raises(CoverageError, match=r"1[01]\.?\d*%"):
        replay.replay(parse(replay, tmp_path / "u.mcap", "--model", model, "--out", tmp_path / "w.mcap"))
    options = ["--camera-mode", "resize", "--samples", 2, "--limit-s", 5, "--device", "cpu", "--report", tmp_path / "report"]
    result = replay.replay(parse(replay, tmp_path / "u.mcap", "--model", model, "--out", tmp_path / "r.mcap", *options))
    assert len(result.log.plans) >= 10
    assert result.evaluation is not None
    assert result.evaluation.scores[-1].cv_ade_m < 5.0
    said = " ".join(result.warnings)
    assert "estimated" in said
    assert "not canonical" in said
    assert (tmp_path / "report" / "index.html").stat().st_size < 6_000_000
