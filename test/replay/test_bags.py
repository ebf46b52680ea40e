"""Bags: what is written is read back, in both storages; what is wrong with a file is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vavam_ros.bags import POSE_QUALITY_TOPIC, BagReader, BagWriter
from vavam_ros.core.contracts import BagError
from vavam_ros.replay import messages
from vavam_ros.replay.road_clip import RoadClip, RoadClipConfig

T0 = 1_500_000_000_123_456_789  # needs all 64 bits


def write_drive(path: Path, storage: str = "mcap", n: int = 5) -> list[bytes]:
    pictures = [bytes([i]) * (100 + i) for i in range(n)]
    clip = RoadClip(RoadClipConfig(start_ns=T0, duration_s=1.0, width=32, height=18))
    with BagWriter(path, storage=storage, custom_data={"source": "test"}) as writer:
        writer.write_pose_quality(T0, "estimated")
        writer.add_topic("/image", messages.COMPRESSED_IMAGE)
        writer.add_topic("/odom", messages.ODOMETRY)
        for i, picture in enumerate(pictures):
            stamp_ns = T0 + i * 100_000_000
            writer.write("/odom", stamp_ns, messages.odometry(writer, clip.odometry_at(stamp_ns)))
            writer.write("/image", stamp_ns, messages.compressed_image(writer, stamp_ns, "cam", picture, "jpeg"))
    return pictures


@pytest.mark.parametrize(("name", "storage"), [("drive", "mcap"), ("drive", "sqlite3"), ("drive.mcap", "mcap"), ("drive.db3", "sqlite3")])
def test_round_trip(tmp_path: Path, name: str, storage: str) -> None:
    path = tmp_path / name
    pictures = write_drive(path, storage)
    assert path.is_dir() == (path.suffix == "")
    clip = RoadClip(RoadClipConfig(start_ns=T0, duration_s=1.0, width=32, height=18))
    with BagReader(path) as reader:
        assert reader.pose_quality() == "estimated"
        assert reader.topics[POSE_QUALITY_TOPIC].latched
        assert not reader.topics["/image"].latched
        read = list(reader.messages())
        assert [m.log_ns for m in read] == sorted(m.log_ns for m in read)
        images = [reader.decode(m) for m in read if m.topic == "/image"]
        odometry = [messages.odometry_from(reader.decode(m)) for m in read if m.topic == "/odom"]
    assert [bytes(m.data) for m in images] == pictures
    assert [messages.stamp_ns_of(m) for m in images] == [T0 + i * 100_000_000 for i in range(5)]
    for sample in odometry:
        truth = clip.odometry_at(sample.stamp_ns)
        np.testing.assert_allclose(sample.T_odom_base, truth.T_odom_base, atol=1e-12)
        np.testing.assert_array_equal(sample.linear_mps, truth.linear_mps)


def test_own_messages_survive(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "b.mcap") as writer:
        writer.add_topic("/cmd", messages.DRIVING_COMMAND)
        writer.write("/cmd", T0, messages.driving_command(writer, T0, messages.Command.LEFT))
    with BagReader(tmp_path / "b.mcap") as reader:
        command = reader.decode(next(reader.messages(["/cmd"])))
    assert (command.command, command.schema_version, command.header.stamp.sec) == (1, 1, 1_500_000_000)


def test_an_unfinished_bag_is_named_partial_and_readable(tmp_path: Path) -> None:
    path = tmp_path / "b.mcap"

    def interrupted() -> None:
        with BagWriter(path) as writer:
            writer.add_topic("/cmd", messages.DRIVING_COMMAND)
            writer.write("/cmd", T0, messages.driving_command(writer, T0, messages.Command.LEFT))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [p.name for p in tmp_path.iterdir()] == ["b.partial.mcap"]
    with BagReader(tmp_path / "b.partial.mcap") as reader:
        assert reader.message_count == 1


def test_existing_bag_is_kept_unless_told(tmp_path: Path) -> None:
    write_drive(tmp_path / "b.mcap", n=1)
    before = (tmp_path / "b.mcap").read_bytes()
    with pytest.raises(BagError, match="exists already"), BagWriter(tmp_path / "b.mcap"):
        pass
    assert (tmp_path / "b.mcap").read_bytes() == before
    with BagWriter(tmp_path / "b.mcap", overwrite=True) as writer:
        writer.add_topic("/odom", messages.ODOMETRY)
    with BagReader(tmp_path / "b.mcap") as reader, pytest.raises(BagError, match="empty"):
        reader.require_messages()


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="no such bag"), BagReader(tmp_path / "nothing"):
        pass
    (tmp_path / "dir").mkdir()
    with pytest.raises(BagError, match=r"no metadata\.yaml"), BagReader(tmp_path / "dir"):
        pass
    (tmp_path / "old.bag").write_bytes(b"#ROSBAG V2.0")
    with pytest.raises(BagError, match="ROS 1"), BagReader(tmp_path / "old.bag"):
        pass


@pytest.mark.parametrize("name", ["b.mcap", "b.db3"])
@pytest.mark.parametrize("damage", ["empty", "cut", "noise"])
def test_damaged_files_are_bag_errors(tmp_path: Path, name: str, damage: str) -> None:
    path = tmp_path / name
    write_drive(path, n=40)
    data = path.read_bytes()
    half = len(data) // 2
    path.write_bytes({"empty": b"", "cut": data[:half], "noise": data[:64] + bytes(255 - b for b in data[64:])}[damage])

    def read_all() -> None:
        with BagReader(path) as reader:
            reader.require_messages()
            for message in reader.messages():
                reader.decode(message)

    with pytest.raises(BagError, match=name):
        read_all()


def test_topics_are_found_or_named(tmp_path: Path) -> None:
    path = tmp_path / "b.mcap"
    with BagWriter(path) as writer:
        for topic in ("/a", "/b"):
            writer.add_topic(topic, messages.DRIVING_COMMAND)
            writer.write(topic, T0, messages.driving_command(writer, T0, messages.Command.LEFT))
        writer.add_topic("/silent", messages.ODOMETRY)
    kinds = (messages.DRIVING_COMMAND,)
    with BagReader(path) as reader:
        with pytest.raises(BagError, match=r"several topics.*/a, /b.*--command-topic"):
            reader.topic_of(kinds, wanted=None, what="command", option="--command-topic")
        with pytest.raises(BagError, match=r"no topic /c.*/a \[vavam_ros/msg/DrivingCommand\] 1"):
            reader.topic_of(kinds, wanted="/c", what="command", option="--command-topic")
        with pytest.raises(BagError, match=r"expected vavam_ros/msg/DrivingCommand"):
            reader.topic_of(kinds, wanted="/silent", what="command", option="--command-topic")
        with pytest.raises(BagError, match="holds no messages"):
            reader.topic_of((messages.ODOMETRY,), wanted="/silent", what="odometry", option="--odometry-topic")
        assert reader.topic_of((messages.ODOMETRY,), wanted=None, what="odometry", option="--odometry-topic") is None
        found = reader.topic_of(kinds, wanted="/b", what="command", option="--command-topic")
        assert found is not None
        assert found.name == "/b"
