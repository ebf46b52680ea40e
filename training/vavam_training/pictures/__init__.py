"""Pictures as a tokenizer sees them: kept once, drawn from in a fixed order."""

from vavam_training.pictures.samples import PictureSamples
from vavam_training.pictures.store import PictureStore, keep_pictures

__all__ = ["PictureSamples", "PictureStore", "keep_pictures"]
