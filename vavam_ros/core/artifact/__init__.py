"""A model on disk: the directory that nodes load (directory), its card (model_card), its golden output (golden_check), strict tensor files (tensor_files)."""

from vavam_ros.core.artifact.directory import (
    LoadedArtifact,
    load_artifact,
    load_tokenizer,
    load_video_artifact,
    random_artifact,
    save_artifact,
    tokenizer_for,
)
from vavam_ros.core.artifact.model_card import ModelCard, read_card, require_domain

__all__ = [
    "LoadedArtifact",
    "ModelCard",
    "load_artifact",
    "load_tokenizer",
    "load_video_artifact",
    "random_artifact",
    "read_card",
    "require_domain",
    "save_artifact",
    "tokenizer_for",
]
