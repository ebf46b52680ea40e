"""What features know of classes: dense retrieval, and a linear probe. Nothing of the model is trained.

Retrieval as in Humming-Bird (Balažević et al. 2023, arXiv 2306.01667) with the reference's numbers (arXiv 2502.15672): a memory of some patches of each
picture, drawn with less chance the more classes they show; a patch takes on the labels of its nearest neighbours by cosine, by a softmax of temperature 0.02.
Labels of a patch are the shares of the classes in it; predictions are brought to pixels linearly. Mean intersection over union, NaN ignored.

# vs upstream: exact neighbours instead of ScaNN's; pixels of 255 do not count in the memory either (there they become class 0).

Shape letters: n pictures · h w token grid · F features · C classes · M patches in memory · k neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vavam_ros.core.contracts import F32, F64, U8, ConfigError
from vavam_ros.core.model import VideoModel
from vavam_ros.core.tokenizer import VQ16
from vavam_training.contracts import I64, DataError
from vavam_training.evaluation.dense_metrics import IGNORE, class_iou, confusion_matrix, mean_iou
from vavam_training.evaluation.labelled import Place, class_count, read_all

Features = Callable[[U8], F32]  # (n, H, W, 3) pictures → (n, h, w, F)
Progress = Callable[[int], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalConfig:
    """`patches`: remembered of each picture. `c`: inverse strength of the probe's regularisation."""

    neighbours: int = 30
    patches: int = 10
    temperature: float = 0.02
    c: float = 1.0
    seed: int = 0
    batch: int = 16

    def __post_init__(self) -> None:
        if min(self.neighbours, self.patches, self.batch) < 1 or self.temperature <= 0.0 or self.c <= 0.0:
            raise ConfigError(f"retrieval: got {self}, expected positive numbers")


def video_features(video: VideoModel, tokenizer: VQ16, layer: int, device: torch.device) -> Features:
    """The video model's residual stream after a layer, of the one frame (0-based)."""

    def of(pictures: U8) -> F32:
        with torch.inference_mode():
            tokens = tokenizer.encode(_images(pictures, device))
            found: F32 = video.features(tokens[:, None], layer)[:, -1].float().cpu().numpy()
        return found

    return of


def tokenizer_features(tokenizer: VQ16, device: torch.device) -> Features:
    """The tokenizer's latents: what the video model starts from."""

    def of(pictures: U8) -> F32:
        with torch.inference_mode():
            found: F32 = tokenizer.latents(_images(pictures, device)).permute(0, 2, 3, 1).float().cpu().numpy()
        return found

    return of


def _images(pictures: U8, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def patch_labels(classes: U8, grid_hw: tuple[int, int], count: int) -> F32:
    """(H, W) classes → (h, w, C) shares of each class in each patch, of the pixels that count; zeros where none does. Raises DataError for odd sizes."""
    (h, w), (height, width) = grid_hw, classes.shape
    if height % h or width % w:
        raise DataError(f"labels: got {height} × {width} pixels, expected multiples of the grid {h} × {w}")
    patches = classes.reshape(h, height // h, w, width // w).transpose(0, 2, 1, 3).reshape(h * w, -1).astype(np.int64)
    if patches[patches != IGNORE].size and int(patches[patches != IGNORE].max()) >= count:
        raise DataError(f"labels: got class {int(patches[patches != IGNORE].max())}, expected 0 to {count - 1} (or {IGNORE}: does not count)")
    shifted = np.where(patches == IGNORE, count, patches) + (count + 1) * np.arange(len(patches))[:, None]
    counts = np.bincount(shifted.reshape(-1), minlength=len(patches) * (count + 1)).reshape(len(patches), count + 1)[:, :count]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return np.asarray(shares.reshape(h, w, count), np.float32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Memory:
    """Remembered patches."""

    features: F32  # (M, F)
    labels: F32  # (M, C) shares


def remember(places: Sequence[Place], features: Features, image_hw: tuple[int, int], classes: int, config: RetrievalConfig, progress: Progress) -> Memory:
    """Some patches of each picture, the likelier the fewer classes they show. Raises DataError where no pixel counts."""
    rng = np.random.default_rng(config.seed)
    kept_features, kept_labels = [], []
    for found, truth in _batches(places, features, image_hw, config.batch, progress):
        for one, label in zip(found, truth, strict=True):
            shares = patch_labels(label, one.shape[:2], classes).reshape(-1, classes)
            variety = (shares > 0).sum(axis=1)
            chance = np.where(variety > 0, 1.0 / np.maximum(variety, 1), 0.0)
            count = min(config.patches, int((chance > 0).sum()))
            if count:
                chosen = np.sort(rng.choice(len(chance), count, replace=False, p=chance / chance.sum()))
                kept_features.append(one.reshape(-1, one.shape[-1])[chosen])
                kept_labels.append(shares[chosen])
    if not kept_features:
        raise DataError(f"memory: no pixel of {len(places)} pictures counts; expected labels other than {IGNORE}")
    return Memory(features=np.concatenate(kept_features), labels=np.concatenate(kept_labels))


class Retrieval:
    """Labels of patches from their nearest neighbours."""

    def __init__(self, memory: Memory, config: RetrievalConfig) -> None:
        self._labels, self._temperature = memory.labels.astype(np.float64), config.temperature
        self._search = NearestNeighbors(n_neighbors=min(config.neighbours, len(memory.features)), metric="cosine", algorithm="brute").fit(memory.features)

    def __call__(self, features: F32) -> F64:
        """(p, F) → (p, C) shares."""
        distance, index = self._search.kneighbors(features)
        weight = np.exp(-(distance - distance[:, :1]) / self._temperature)
        weight /= weight.sum(axis=1, keepdims=True)
        shares: F64 = np.einsum("pk,pkc->pc", weight, self._labels[index])
        return shares


class Probe:
    """Logistic regression on the memory's patches, by their most frequent class."""

    def __init__(self, memory: Memory, config: RetrievalConfig) -> None:
        self._classes, target = memory.labels.shape[1], memory.labels.argmax(axis=1)
        self._known = np.unique(target)
        self._fit = make_pipeline(StandardScaler(), LogisticRegression(C=config.c, max_iter=1000))
        if len(self._known) > 1:
            self._fit.fit(memory.features.astype(np.float64), target)

    def __call__(self, features: F32) -> F64:
        """(p, F) → (p, C) probabilities; 0 for classes that the memory has not."""
        out = np.zeros((len(features), self._classes))
        out[:, self._known] = self._fit.predict_proba(features.astype(np.float64)) if len(self._known) > 1 else 1.0
        return out


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SemanticScores:
    """Of one kind of features and one method. `iou` (C,), NaN for a class that neither occurs nor is predicted."""

    features: str
    method: str
    iou: F64
    pixel_accuracy: float

    @property
    def mean_iou(self) -> float:
        """Over the classes that occur."""
        return mean_iou(self.iou)

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        known = [None if np.isnan(x) else float(x) for x in self.iou]
        return {"features": self.features, "method": self.method, "mean_iou": self.mean_iou, "pixel_accuracy": self.pixel_accuracy, "iou": known}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Semantics:
    """All scores; `shown`: pictures with their true and retrieved classes (H, W), for people."""

    scores: tuple[SemanticScores, ...]
    classes: int
    memory_pictures: int
    memory_patches: int
    queries: int
    shown: tuple[tuple[U8, U8, U8], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        counts = {"classes": self.classes, "memory_pictures": self.memory_pictures, "memory_patches": self.memory_patches, "queries": self.queries}
        return counts | {"scores": [s.to_dict() for s in self.scores]}


def judge(
    memory_places: Sequence[Place],
    query_places: Sequence[Place],
    kinds: Mapping[str, Features],
    image_hw: tuple[int, int],
    config: RetrievalConfig,
    *,
    shown: int,
    progress: Progress,
) -> Semantics:
    """Retrieval and probe for each kind of features; pictures for people of the first. `progress` is told how many pictures were done."""
    classes = class_count([*memory_places, *query_places], image_hw)
    scores, pictures, patches = list[SemanticScores](), list[tuple[U8, U8, U8]](), 0
    for kind, features in kinds.items():
        memory = remember(memory_places, features, image_hw, classes, config, progress)
        patches = len(memory.features)
        methods: dict[str, Callable[[F32], F64]] = {"retrieval": Retrieval(memory, config), "linear probe": Probe(memory, config)}
        confusion: dict[str, I64] = {method: np.zeros((classes, classes), np.int64) for method in methods}
        seen = 0
        for found, truth in _batches(query_places, features, image_hw, config.batch, progress):
            for one, label in zip(found, truth, strict=True):
                for method, predict in methods.items():
                    shares = predict(one.reshape(-1, one.shape[-1])).reshape(*one.shape[:2], classes)
                    predicted = to_pixels(shares, label.shape)
                    confusion[method] += confusion_matrix(label, predicted, classes)
                    if method == "retrieval" and kind == next(iter(kinds)) and len(pictures) < shown and seen % max(1, len(query_places) // shown) == 0:
                        pictures.append((query_places[seen].read(image_hw)[0], label, predicted))
                seen += 1
        for method, c in confusion.items():
            accuracy = float(np.trace(c) / max(int(c.sum()), 1))
            scores.append(SemanticScores(features=kind, method=method, iou=class_iou(c), pixel_accuracy=accuracy))
    counts = {"memory_pictures": len(memory_places), "memory_patches": patches, "queries": len(query_places)}
    return Semantics(scores=tuple(scores), classes=classes, shown=tuple(pictures), **counts)


def to_pixels(shares: F64, image_hw: tuple[int, ...]) -> U8:
    """(h, w, C) → (H, W) likeliest classes, shares interpolated linearly."""
    scores = F.interpolate(torch.from_numpy(shares).permute(2, 0, 1)[None], size=image_hw, mode="bilinear", align_corners=False)
    found: U8 = scores[0].argmax(dim=0).to(torch.uint8).numpy()
    return found


def _batches(places: Sequence[Place], features: Features, image_hw: tuple[int, int], batch: int, progress: Progress) -> Any:
    """(features (B, h, w, F), labels: B of (H, W)) of some pictures at a time."""
    for at in range(0, len(places), batch):
        pairs = list(read_all(places[at : at + batch], image_hw))
        yield features(np.stack([rgb for rgb, _ in pairs])), [label for _, label in pairs]
        progress(len(pairs))
