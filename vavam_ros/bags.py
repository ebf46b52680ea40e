"""rosbag2 recordings without ROS: read, write and decode sqlite3 and mcap through `rosbags`.

A path that ends in `.mcap` or `.db3` is one bare storage file, any other path a rosbag2 directory with its metadata.yaml; both are read by
`ros2 bag` and by Foxglove. What is not finished carries `partial` in its name.

Every bag that this package writes states where its odometry comes from (`measured` or `estimated`): as a latched string on
`POSE_QUALITY_TOPIC`, which a bare file and a live player carry too, and as custom data in the metadata.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import struct
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdError
else:
    from backports.zstd import ZstdError

from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinitionFormat,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import Reader, ReaderError, StoragePlugin, Writer, WriterError
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, TypesysError, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from vavam_ros.core.contracts import BagError

POSE_QUALITY_TOPIC = "/vavam/pose_quality"
POSE_QUALITIES = ("measured", "estimated")
OWN_MESSAGES = ("DrivingCommand", "FrameTokens", "TrajectorySamples")
STRING = "std_msgs/msg/String"

_LOW_LEVEL_ERRORS = (
    ReaderError,
    WriterError,
    SerdeError,
    TypesysError,
    sqlite3.Error,
    struct.error,
    OSError,
    KeyError,
    ValueError,
    TypeError,
    IndexError,
    AssertionError,
    RuntimeError,  # from the lz4 decompressor
    ZstdError,
)
"""What a damaged file makes the storage readers raise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicInfo:
    """One topic of a bag. `latched`: its writer offered transient_local durability."""

    name: str
    type_name: str  # package/msg/Name
    count: int
    qos: tuple[Qos, ...]

    @property
    def latched(self) -> bool:
        """A late subscriber must still get the last message."""
        return any(q.durability is QosDurability.TRANSIENT_LOCAL for q in self.qos)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BagMessage:
    """One recorded message, still serialised. `log_ns` is when it was recorded, not its header stamp."""

    topic: str
    type_name: str
    log_ns: int
    data: bytes


def qos_profile(*, depth: int = 10, latched: bool = False) -> Qos:
    """A reliable profile as `ros2 bag record` writes it."""
    zero = QosTime(0, 0)
    durability = QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE
    return Qos(QosHistory.KEEP_LAST, depth, QosReliability.RELIABLE, durability, zero, zero, QosLiveliness.AUTOMATIC, zero, False)


def message_definition_dir() -> Path:
    """The folder with this package's .msg files: beside the package in a source tree, else share/vavam_ros/msg of an installation."""
    here = Path(__file__)
    roots = [*here.parents, *here.resolve().parents, Path(sys.prefix)]
    roots += [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    for root in roots:
        for folder in (root / "msg", root / "share" / "vavam_ros" / "msg"):
            if all((folder / f"{name}.msg").is_file() for name in OWN_MESSAGES):
                return folder
    raise BagError(
        f"message definitions {', '.join(OWN_MESSAGES)} not found beside {here.parent} nor in share/vavam_ros/msg of a prefix; install the package again"
    )


def _register_own(store: Typestore) -> Typestore:
    """Add this package's message types, except those that the store has already (from a bag)."""
    folder = message_definition_dir()
    for name in OWN_MESSAGES:
        if f"vavam_ros/msg/{name}" not in store.fielddefs:
            store.register(get_types_from_msg((folder / f"{name}.msg").read_text(encoding="utf-8"), f"vavam_ros/msg/{name}"))
    return store


def new_typestore() -> Typestore:
    """The standard ROS 2 types and this package's own."""
    return _register_own(get_typestore(Stores.ROS2_HUMBLE))


@contextmanager
def _bag_errors(path: Path, doing: str) -> Iterator[None]:
    """Say everything that the storage layer raises as BagError, with the file and what was being done."""
    try:
        yield
    except BagError:
        raise
    except _LOW_LEVEL_ERRORS as e:
        raise BagError(f"{path}: {doing} failed: {type(e).__name__}: {e}") from e


class BagReader:
    """One bag, open for reading. A context manager; raises BagError for whatever is wrong with the file."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._reader: Reader | None = None
        self._store = get_typestore(Stores.ROS2_HUMBLE)
        self._unreadable: dict[str, str] = {}  # type -> why
        self.topics: dict[str, TopicInfo] = {}

    def __enter__(self) -> BagReader:
        if not self.path.exists():
            raise BagError(f"{self.path}: no such bag; expected a rosbag2 directory, or an .mcap or .db3 file")
        if self.path.is_dir() and not (self.path / "metadata.yaml").exists():
            files = sorted(p.name for p in self.path.iterdir() if p.suffix in (".mcap", ".db3"))
            fix = f"open the file itself: {self.path / files[0]}" if files else "it holds no .mcap or .db3 file either; was the recording finished?"
            raise BagError(f"{self.path}: no metadata.yaml in this directory; {fix}")
        if self.path.is_file() and self.path.suffix not in (".mcap", ".db3"):
            raise BagError(
                f"{self.path}: got a {self.path.suffix or 'suffixless'} file, expected .mcap, .db3 or a rosbag2 directory (ROS 1 bags: convert them first)"
            )
        with _bag_errors(self.path, "opening the bag"):
            try:
                reader = Reader(self.path)
                reader.open()
            except (ReaderError, sqlite3.Error) as e:
                fix = "copy it again, or finish it with `mcap recover` (.mcap) or `ros2 bag reindex` (a directory)"
                raise BagError(f"{self.path}: got a bag that cannot be opened ({e}), expected a finished recording: {fix}") from e
        self._reader = reader
        self._collect_topics(reader.connections)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _collect_topics(self, connections: Collection[Connection]) -> None:
        for c in connections:
            profiles = c.ext.offered_qos_profiles if isinstance(c.ext, ConnectionExtRosbag2) else []
            old = self.topics.get(c.topic)
            if old is not None and old.type_name != c.msgtype:
                raise BagError(f"{self.path}: topic {c.topic} was recorded with two types, {old.type_name} and {c.msgtype}; split the bag first")
            count, qos = (old.count, old.qos) if old is not None else (0, ())
            self.topics[c.topic] = TopicInfo(name=c.topic, type_name=c.msgtype, count=count + c.msgcount, qos=(*qos, *profiles))
            self._learn_type(c)
        _register_own(self._store)

    def _learn_type(self, c: Connection) -> None:
        """Take a type that is not a standard one from the bag's own definition, so that an old bag keeps the schema it was written with."""
        if c.msgtype in self._store.fielddefs:
            return
        try:
            if c.msgdef.format is MessageDefinitionFormat.MSG:
                types = get_types_from_msg(c.msgdef.data, c.msgtype)
            elif c.msgdef.format is MessageDefinitionFormat.IDL:
                types = get_types_from_idl(c.msgdef.data)
            else:
                self._unreadable[c.msgtype] = "the bag carries no definition of it"
                return
            self._store.register({name: fields for name, fields in types.items() if name not in self._store.fielddefs})
        except (TypesysError, KeyError, ValueError) as e:
            self._unreadable[c.msgtype] = f"its definition in the bag cannot be read ({e})"

    @property
    def _open_reader(self) -> Reader:
        if self._reader is None:
            raise BagError(f"{self.path}: the bag is not open; use it in a with statement")
        return self._reader

    @property
    def message_count(self) -> int:
        """Messages in the bag."""
        return self._open_reader.message_count

    @property
    def start_ns(self) -> int:
        """Recording time of the first message; raises BagError for an empty bag."""
        self.require_messages()
        return self._open_reader.start_time

    @property
    def end_ns(self) -> int:
        """Recording time of the last message."""
        self.require_messages()
        return self._open_reader.end_time - 1

    @property
    def custom_data(self) -> dict[str, str]:
        """Custom data of the metadata; empty for a bare file."""
        return dict(self._open_reader.storage.metadata.custom or {})

    def require_messages(self) -> None:
        """Raise BagError if there is nothing in the bag."""
        if not self.message_count:
            raise BagError(f"{self.path}: the bag is empty (0 messages on {len(self.topics)} topics)")

    def messages(self, topics: Collection[str] | None = None, *, start_ns: int | None = None) -> Iterator[BagMessage]:
        """Messages in recording order, of all topics or of some, from recording time `start_ns` on."""
        reader = self._open_reader
        wanted = [c for c in reader.connections if topics is None or c.topic in topics]
        if not wanted:
            return
        with _bag_errors(self.path, "reading messages"):
            for c, log_ns, data in reader.messages(wanted, start=start_ns):
                yield BagMessage(topic=c.topic, type_name=c.msgtype, log_ns=log_ns, data=bytes(data))

    def decode(self, message: BagMessage) -> Any:
        """The message as an object with the fields of its ROS type; arrays are numpy. Raises BagError."""
        if message.type_name in self._unreadable and message.type_name not in self._store.fielddefs:
            raise BagError(f"{self.path}: topic {message.topic}: type {message.type_name} is not known here and {self._unreadable[message.type_name]}")
        with _bag_errors(self.path, f"decoding a {message.type_name} of topic {message.topic}"):
            return self._store.deserialize_cdr(message.data, message.type_name)

    def topic_of(self, kinds: Collection[str], *, wanted: str | None, what: str, option: str) -> TopicInfo | None:
        """The one topic of a kind: `wanted` if named, else the only one whose type is in `kinds` and that holds messages; None if there is none.

        Raises BagError when the named one is missing, of another type or empty, or when several could be meant.
        """
        have = "; ".join(f"{t.name} [{t.type_name}] {t.count}" for t in sorted(self.topics.values(), key=lambda t: t.name)) or "no topics at all"
        if wanted is not None:
            topic = self.topics.get(wanted)
            if topic is None:
                raise BagError(f"{self.path}: no topic {wanted} ({what}); the bag has {have}")
            if topic.type_name not in kinds:
                raise BagError(f"{self.path}: {wanted} is a {topic.type_name}, expected {' or '.join(sorted(kinds))} ({what})")
            if not topic.count:
                raise BagError(f"{self.path}: topic {wanted} ({what}) holds no messages")
            return topic
        found = [t for t in self.topics.values() if t.type_name in kinds and t.count]
        if len(found) > 1:
            raise BagError(f"{self.path}: several topics could be the {what}: {', '.join(sorted(t.name for t in found))}; name one with {option}")
        return found[0] if found else None

    def pose_quality(self) -> str | None:
        """`measured`, `estimated`, or None when the bag does not say."""
        stated = self.custom_data.get("pose_quality")
        if stated is None and POSE_QUALITY_TOPIC in self.topics:
            first = next(iter(self.messages([POSE_QUALITY_TOPIC])), None)
            stated = None if first is None else str(self.decode(first).data)
        if stated is not None and stated not in POSE_QUALITIES:
            raise BagError(f"{self.path}: pose_quality is {stated!r}, expected one of {', '.join(POSE_QUALITIES)}")
        return stated


class BagWriter:
    """One bag, open for writing. It appears under its name when the block ends well, and as `NAME.partial…` (closed, readable) when it does not."""

    def __init__(
        self, path: Path | str, *, storage: Literal["mcap", "sqlite3"] = "mcap", overwrite: bool = False, custom_data: Mapping[str, str] | None = None
    ) -> None:
        self.path = Path(path)
        self.bare = self.path.suffix in (".mcap", ".db3")
        self._plugin = StoragePlugin.SQLITE3 if (self.path.suffix == ".db3" or (storage == "sqlite3" and not self.bare)) else StoragePlugin.MCAP
        self._overwrite, self._custom_data = overwrite, dict(custom_data or {})
        self._store = new_typestore()
        self._connections: dict[str, Connection] = {}
        self._writer: Writer | None = None
        self._work_dir: Path | None = None

    def __enter__(self) -> BagWriter:
        if self.path.exists() and not self._overwrite:
            raise BagError(f"{self.path}: exists already; remove it, choose another name, or allow overwriting")
        with _bag_errors(self.path, "creating the bag"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._work_dir = Path(tempfile.mkdtemp(prefix=f"{self.path.name}.partial-", dir=self.path.parent))
            self._writer = Writer(self._work_dir / (self.path.stem if self.bare else self.path.name), version=8, storage_plugin=self._plugin)
            for key, value in self._custom_data.items():
                self._writer.set_custom_data(key, value)
            self._writer.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        writer, work_dir = self._writer, self._work_dir
        assert writer is not None
        assert work_dir is not None
        self._writer = None
        with _bag_errors(self.path, "finishing the bag"):
            writer.close()
            target = self.path if kind is None else self.partial_path
            if target.exists():
                shutil.rmtree(target) if target.is_dir() else target.unlink()
            made = next(p for p in writer.path.iterdir() if p.suffix in (".mcap", ".db3")) if self.bare else writer.path
            made.rename(target)
            shutil.rmtree(work_dir)

    @property
    def partial_path(self) -> Path:
        """Where an interrupted bag is left."""
        return self.path.with_name(f"{self.path.stem}.partial{self.path.suffix}") if self.bare else self.path.with_name(f"{self.path.name}.partial")

    @property
    def _open_writer(self) -> Writer:
        if self._writer is None:
            raise BagError(f"{self.path}: the bag is not open; use it in a with statement")
        return self._writer

    def message(self, type_name: str, **fields: Any) -> Any:
        """A message object of a ROS type (`package/msg/Name`)."""
        return self._store.types[type_name](**fields)

    def add_topic(self, topic: str, type_name: str, *, latched: bool = False, qos: Collection[Qos] = ()) -> None:
        """Declare a topic before writing to it."""
        profiles = list(qos) or [qos_profile(depth=1 if latched else 10, latched=latched)]
        with _bag_errors(self.path, f"adding topic {topic}"):
            self._connections[topic] = self._open_writer.add_connection(topic, type_name, typestore=self._store, offered_qos_profiles=profiles)

    def write(self, topic: str, log_ns: int, message: Any) -> None:
        """Serialise and write one message."""
        with _bag_errors(self.path, f"serialising for topic {topic}"):
            data = bytes(self._store.serialize_cdr(message, self._connections[topic].msgtype))
        self.write_raw(topic, log_ns, data)

    def write_raw(self, topic: str, log_ns: int, data: bytes) -> None:
        """Write one message that is serialised already."""
        with _bag_errors(self.path, f"writing to topic {topic}"):
            self._open_writer.write(self._connections[topic], log_ns, data)

    def write_pose_quality(self, log_ns: int, quality: str) -> None:
        """State where the odometry of this bag comes from."""
        if quality not in POSE_QUALITIES:
            raise BagError(f"pose_quality: got {quality!r}, expected one of {', '.join(POSE_QUALITIES)}")
        self.add_topic(POSE_QUALITY_TOPIC, STRING, latched=True)
        self.write(POSE_QUALITY_TOPIC, log_ns, self.message(STRING, data=quality))
        self._open_writer.set_custom_data("pose_quality", quality)
