"""From a recipe to the stages video and action: data, model, weights to begin with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vavam_ros.core.artifact import ModelCard
from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.model import VaVAM, VideoModel
from vavam_ros.core.spec import ModelSpec, VideoSpec
from vavam_ros.core.tokenizer import VQ16
from vavam_training.contracts import DataError, Stage
from vavam_training.mixing import Mixture
from vavam_training.mixing.config import DataConfig, open_mixture
from vavam_training.stages.action import ActionOptions, ActionStage
from vavam_training.stages.deeper import for_layers
from vavam_training.stages.video import VideoOptions, VideoStage
from vavam_training.stages.window_length import for_frames
from vavam_training.windows import WindowSpec

if TYPE_CHECKING:
    from vavam_training.recipe import Opened, Recipe
    from vavam_training.weights import OpenedWeights


def open_stage(recipe: Recipe) -> Opened:
    """Data and stage. Raises ConfigError, DataError, ArtifactError."""
    from vavam_training.recipe import Opened, model_spec, parsed

    start = _weights(recipe)
    spec = _spec(recipe, start) if not recipe.model and start is not None else model_spec(recipe.model)
    if start is not None:
        start = replace(start, model=_deeper(recipe, for_frames(start.model, spec.video.frames), spec.video.layers))
    labelled = recipe.stage == "action"
    windows = WindowSpec.of(spec, labelled=labelled, command_rule=recipe.command_rule, max_sideways_m=recipe.max_sideways_m)
    train, held_out = open_mixture(DataConfig.from_dict(recipe.data), windows, recipe.loop.seed)
    _check_tokens(train, spec.video)
    tokenizer = _tokenizer(recipe.tokenizer, spec.video)
    began_with = _of_card(start.card) if start is not None and start.card is not None else None
    stage: Stage
    if labelled:
        options = parsed(ActionOptions, recipe.options)
        whole = start.model if start is not None and isinstance(start.model, VaVAM) else None
        stage = ActionStage(spec, options, recipe.loop.seed, video=_video(start), initial=whole, tokenizer=tokenizer, began_with=began_with)
    else:
        video = parsed(VideoOptions, recipe.options)
        if recipe.stage == "finetune" and start is None:
            raise ConfigError("finetune: got no `start`, expected weights to begin with: a run, a checkpoint, an artifact or an upstream file")
        stage = VideoStage(spec, video, recipe.loop.seed, name=recipe.stage, initial=_video(start), tokenizer=tokenizer, began_with=began_with)
    return Opened(stage=stage, samples=train, held_out=held_out)


def _deeper(recipe: Recipe, model: VaVAM | VideoModel, layers: int) -> VaVAM | VideoModel:
    """With as many layers as asked for. Raises ConfigError where new ones would write nothing for ever."""
    from vavam_training.recipe import parsed

    had = (model.spec.video if isinstance(model, VaVAM) else model.spec).layers
    if layers > had and recipe.stage == "action" and not parsed(ActionOptions, recipe.options).train_video:
        raise ConfigError(f"layers: got {layers}, the weights to start with have {had} and the video model is frozen; expected train_video: true, or {had}")
    if layers > had:
        print(f"layers: {had} in {recipe.start}, {layers} now; the new ones write nothing at first")
    return for_layers(model, layers)


def _weights(recipe: Recipe) -> OpenedWeights | None:
    if recipe.start is None:
        return None
    from vavam_training.weights import open_weights

    return open_weights(recipe.start, grid_hw=recipe.start_grid_hw)


def _video(start: OpenedWeights | None) -> VideoModel | None:
    if start is None:
        return None
    return start.model.video if isinstance(start.model, VaVAM) else start.model


def _of_card(card: ModelCard) -> dict[str, Any]:
    """What a run keeps of the model directory that it begins with: at the time of its export another model may lie there."""
    about = {k: getattr(card, k) for k in ("model_id", "source", "licence", "domain")}
    return about | {"training": dict(card.training or {})}


def _spec(recipe: Recipe, start: OpenedWeights) -> ModelSpec:
    if isinstance(start.spec, VideoSpec):
        raise ConfigError(f"model: {recipe.start} holds a video model alone, which says nothing of an action expert: give `model` in the recipe")
    return start.spec


def _check_tokens(mixture: Mixture, video: VideoSpec) -> None:
    rows = mixture.parts[0].dataset.rows(0)
    if rows.tokens.shape[1:] != (video.grid_h, video.grid_w):
        raise DataError(f"tokens: got a grid of {rows.tokens.shape[1:]}, the model's is {(video.grid_h, video.grid_w)}: another tokenizer, or another model")
    codebook = getattr(getattr(mixture.parts[0].dataset, "manifest", None), "codebook_size", 0)
    if codebook > video.vocabulary:
        raise DataError(f"tokens: got a codebook of {codebook}, the model's vocabulary is {video.vocabulary}: set model.video.vocabulary to {codebook + 1}")


def _tokenizer(path: str | None, video: VideoSpec) -> VQ16 | None:
    if path is None:
        return None
    from vavam_training.tokenizing.load import load_tokenizer_dir

    tokenizer = load_tokenizer_dir(path, "cpu")
    found: VQ16 = getattr(tokenizer, "tokenizer", tokenizer)
    if found.codebook_size > video.vocabulary:
        raise ConfigError(f"tokenizer: {path} has {found.codebook_size} codes, the model's vocabulary is {video.vocabulary}")
    return found
