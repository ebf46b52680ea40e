"""From windows of several token sets to one endless, repeatable sequence of batches."""

from vavam_training.mixing.config import DataConfig, PartConfig, open_mixture
from vavam_training.mixing.loader import Loader
from vavam_training.mixing.mixture import Mixture, split_drives
from vavam_training.mixing.parts import InMemoryDataset, Part, TokenSet

__all__ = ["DataConfig", "InMemoryDataset", "Loader", "Mixture", "Part", "PartConfig", "TokenSet", "open_mixture", "split_drives"]
