"""Sets of token frames on disk: Arrow IPC shards that are mapped, not read, and a manifest that says what is in them and what was left out."""

from vavam_training.dataset.manifest import DriveEntry, Manifest, ShardEntry
from vavam_training.dataset.reader import TokenDataset
from vavam_training.dataset.writer import TokenWriter

__all__ = ["DriveEntry", "Manifest", "ShardEntry", "TokenDataset", "TokenWriter"]
