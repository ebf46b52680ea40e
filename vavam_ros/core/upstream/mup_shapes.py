"""muP base widths of upstream checkpoints, from their base shapes, checked against every tensor.

The readouts divide by width / base width. A file whose base widths cannot be established is refused: guessing gives plans that are wrong
by a factor of three to eight and look plausible.

Size letters: d video width · e expert width · T frames · S tokens a frame · V vocabulary · A waypoints · C commands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from vavam_ros.core.contracts import ArtifactError, DivisorError
from vavam_ros.core.spec import ActionSpec, VideoSpec

Shapes = Mapping[str, tuple[int | None, ...]]

VIDEO_READOUT, ACTION_READOUT = "transformer.wie.weight", "action_decoder.weight"
_HOW = "give the file with --base-shapes (.bsh, as mup writes it) or a known name: "


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownShapes:
    """Base shapes that upstream ships under this name."""

    layers: int
    video_width: int | None = None
    action_width: int | None = None


KNOWN: dict[str, KnownShapes] = {
    "gpt2_24layers_basewidth256": KnownShapes(layers=24, video_width=256),
    "actionexpert_24layers_baseattentiondim256_baseembeddingdim64": KnownShapes(layers=24, video_width=256, action_width=64),
}


def video_shapes(v: VideoSpec, width: int) -> dict[str, tuple[int, ...]]:
    """Upstream's name and shape of every video tensor, were the model `width` wide."""
    d = width
    shapes: dict[str, tuple[int, ...]] = {
        VIDEO_READOUT: (v.vocabulary, d),
        "transformer.wse.weight": (v.tokens_per_frame, d),
        "transformer.wte.weight": (v.frames, d),
    }
    for i in range(v.layers):
        shapes |= _block_shapes(i, d, d, v.mlp_ratio)
    return shapes


def action_shapes(v: VideoSpec, a: ActionSpec, width: int, attention_width: int) -> dict[str, tuple[int, ...]]:
    """The same of the action expert."""
    e = width
    shapes: dict[str, tuple[int, ...]] = {
        "action_encoder.linear_1.weight": (e, a.action_dim),
        "action_encoder.linear_2.weight": (e, 2 * e),
        "action_encoder.linear_3.weight": (e, e),
        "action_encoder.command_embedding.weight": (a.commands, e),
        "action_encoder.action_positional_embedding.weight": (a.horizon, e),
        ACTION_READOUT: (a.action_dim, e),
    }
    for i in range(v.layers):
        shapes |= _block_shapes(i, e, attention_width, a.mlp_ratio)
    return shapes


def _block_shapes(i: int, width: int, attention_width: int, mlp_ratio: int) -> dict[str, tuple[int, ...]]:
    h = f"transformer.h.{i}"
    return {
        f"{h}.attn.c_attn.weight": (3 * attention_width, width),
        f"{h}.attn.c_proj.weight": (width, attention_width),
        f"{h}.mlp.c_fc.weight": (mlp_ratio * width, width),
        f"{h}.mlp.c_proj.weight": (width, mlp_ratio * width),
    }


def read_base_shapes(path: Path | str) -> dict[str, tuple[int | None, ...]]:
    """A .bsh file: YAML, name → sizes, null for a dimension that does not grow. Raises ArtifactError."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as e:
        raise ArtifactError(f"{path} is not a readable base-shape file ({e})") from e
    shapes = as_shapes(content)
    if shapes is None:
        raise ArtifactError(f"{path}: expected YAML with a list of sizes per tensor name, as mup's save_base_shapes writes it")
    return shapes


def given_base_shapes(argument: str) -> str | dict[str, tuple[int | None, ...]]:
    """What the user gives: the shapes in a file, or a known name (a path that ends in one counts). Raises DivisorError if it is neither."""
    if Path(argument).is_file():
        return read_base_shapes(argument)
    name = PurePosixPath(argument).stem
    if name not in KNOWN:
        raise DivisorError(f"base shapes: got {argument!r}, which is neither a file nor a known name; {_HOW}{', '.join(sorted(KNOWN))}")
    return name


def as_shapes(value: Any) -> dict[str, tuple[int | None, ...]] | None:
    """Base shapes from what a checkpoint or YAML file holds, or None if it holds something else (a path, nothing)."""
    if not isinstance(value, Mapping) or not value:
        return None
    if not all(isinstance(v, list | tuple) and all(n is None or type(n) is int for n in v) for v in value.values()):
        return None
    return {str(k): tuple(v) for k, v in value.items()}


def base_width(stored: Any, given: Any, readout: str, layers: int, what: str) -> tuple[int, Shapes | None]:
    """Base width of one readout and the base shapes it comes from (None for a known name).

    `stored` is what the file holds: shapes, a path, or nothing. `given` is what the user gives: shapes, a known name, or nothing.
    Raises DivisorError if neither establishes it, or if they contradict each other.
    """
    found = [(_width_of(value, readout, layers, what), value) for value in (stored, given) if value is not None]
    widths = {width for width, _ in found if width is not None}
    if len(widths) > 1:
        raise DivisorError(f"{what}: the file's base shapes give base width {found[0][0]}, those given {found[1][0]}; use the ones it was trained with")
    if not widths:
        held = f"holds only {stored!r}" if stored is not None else "holds no base shapes"
        raise DivisorError(f"{what}: cannot establish the muP readout divisor, the file {held}; {_HOW}{', '.join(sorted(KNOWN))}")
    shapes = next((s for _, value in found if (s := as_shapes(value)) is not None), None)
    return widths.pop(), shapes


def _width_of(value: Any, readout: str, layers: int, what: str) -> int | None:
    shapes = as_shapes(value)
    if shapes is not None:
        sizes = shapes.get(readout, ())
        if len(sizes) != 2 or sizes[1] is None or sizes[1] < 1:
            raise DivisorError(
                f"{what}: the base shapes hold {readout} as {sizes or 'missing'}, expected two sizes, the second a base width; {_HOW}{', '.join(sorted(KNOWN))}"
            )
        return sizes[1]
    name = PurePosixPath(str(value)).stem
    known = KNOWN.get(name)
    if known is None:
        return None
    if known.layers != layers:
        raise DivisorError(f"{what}: the base shapes {name} are of {known.layers} layers, but the model has {layers}; {_HOW}{', '.join(sorted(KNOWN))}")
    return known.video_width if readout == VIDEO_READOUT else known.action_width


def check_base_shapes(given: Shapes | None, actual: Mapping[str, tuple[int, ...]], base: Mapping[str, tuple[int, ...]], what: str) -> None:
    """Raise DivisorError unless the base shapes are those of a narrower model of this architecture, tensor by tensor.

    A dimension that does not grow may be written as null or as its size; one that grows must have its base size.
    """
    if given is None:
        return
    if set(given) != set(base):
        raise DivisorError(f"{what}: base shapes lack {sorted(base.keys() - given.keys())[:4]} and have unknown {sorted(given.keys() - base.keys())[:4]}")
    for name, sizes in given.items():
        grows = [a != b for a, b in zip(actual[name], base[name], strict=True)]
        fits = len(sizes) == len(grows) and all(s == b or (s is None and not g) for s, b, g in zip(sizes, base[name], grows, strict=True))
        if not fits:
            raise DivisorError(
                f"{what}: base shape of {name} is {sizes}, expected {base[name]} for a model of {actual[name]}; these shapes belong to another model"
            )
