"""From windows of several token sets to one endless, repeatable sequence of batches."""

from vavam_training.mixing.config import DataConfig, PartConfig, open_mixture
from vavam_training.mixing.loader import Loader
from vavam_training.mixing.mixture import InMemoryDataset, Mixture, Part, TokenSet, split_drives

__all__ = ["DataConfig", "InMemoryDataset", "Loader", "Mixture", "Part", "PartConfig", "TokenSet", "open_mixture", "split_drives"]
