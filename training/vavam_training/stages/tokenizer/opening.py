"""From a recipe to the tokenizer's stage.

model: {channels: 16, encoder_multipliers: [1, 2, 2, 4, 4], …}     # of TokenizerSpec; image_hw is that of the pictures
data: {pictures: [out/pictures], held_out_share: 0.03, crop_hw: [96, 128], whole_from_step: 9000, mirror: true}
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.tokenizer import VQ16_SMALL
from vavam_training.pictures.samples import split_pictures
from vavam_training.pictures.store import PictureStore
from vavam_training.stages.tokenizer.stage import TokenizerOptions, TokenizerStage

if TYPE_CHECKING:
    from vavam_training.recipe import Opened, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureData:
    """Where the pictures are. `crop_hw`: pieces of that size until step `whole_from_step`. `class_weights`: how much a pixel of each semantic class counts,
    for pictures that were kept with classes; none: all alike."""

    pictures: tuple[str, ...]
    held_out_share: float = 0.0
    crop_hw: tuple[int, int] | None = None
    whole_from_step: int = 0
    mirror: bool = False
    class_weights: tuple[float, ...] = ()


def open_stage(recipe: Recipe) -> Opened:
    """Data and stage. Raises ConfigError, DataError."""
    from vavam_training.recipe import Opened, parsed

    data = parsed(PictureData, recipe.data)
    stores = [PictureStore.open(path) for path in data.pictures]
    if not stores:
        raise ConfigError("data.pictures: got none, expected folders made by `vavam-train data pictures`")
    whole_from = data.whole_from_step * recipe.loop.batch_size
    pieces = {"crop_hw": data.crop_hw, "whole_from": whole_from, "mirror": data.mirror, "class_weights": data.class_weights}
    train, held_out = split_pictures(stores, data.held_out_share, recipe.loop.seed, **pieces)  # type: ignore[arg-type]
    unknown = set(recipe.model) - set(asdict(VQ16_SMALL)) | ({"image_hw"} & set(recipe.model))
    if unknown:
        raise ConfigError(f"model: got the keys {sorted(unknown)}, expected some of {sorted(set(asdict(VQ16_SMALL)) - {'image_hw'})}")
    spec = parsed(type(VQ16_SMALL), asdict(VQ16_SMALL) | dict(recipe.model) | {"image_hw": train.image_hw})
    initial = None
    if recipe.start is not None:
        from vavam_training.tokenizing.load import load_tokenizer_dir

        initial = load_tokenizer_dir(recipe.start)
    about = {"canonical_camera": dict(stores[0].canonical_camera), "licence": "; ".join(sorted({s.licence for s in stores})), "domain": stores[0].domain}
    stage = TokenizerStage(spec, parsed(TokenizerOptions, recipe.options), recipe.loop.seed, initial=initial, about=about)
    return Opened(stage=stage, samples=train, held_out=held_out)
