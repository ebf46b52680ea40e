"""Every dimension, rate and scale of a model, in one place that validates itself.

The presets S, B and L are the released sizes of VaViM / VaVAM (arXiv 2502.15672, table of model sizes; released configs).
`small` is the size that runs in real time on two CPU cores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

from vavam_ros.core.contracts import ConfigError, DivisorError

_S = TypeVar("_S", bound="VideoSpec | ActionSpec | FlowSpec")


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSpec:
    """VaViM: a causal transformer over `frames` × `grid_h` × `grid_w` image tokens."""

    width: int = 768
    layers: int = 24
    head_size: int = 128
    mlp_ratio: int = 4
    vocabulary: int = 16385
    frames: int = 8
    grid_h: int = 18
    grid_w: int = 32
    mup_base_width: int = 256
    attention_scale: float = 1.0  # the softmax scale is attention_scale / head_size (muP), not 1/sqrt
    output_scale: float = 1.0

    @property
    def heads(self) -> int:
        """Attention heads."""
        return self.width // self.head_size

    @property
    def tokens_per_frame(self) -> int:
        """S = grid_h · grid_w."""
        return self.grid_h * self.grid_w

    @property
    def readout_divisor(self) -> float:
        """muP width multiplier that divides the logits."""
        return self.width / self.mup_base_width


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionSpec:
    """The action expert: `horizon` tokens per plan, attention as wide as the video model's."""

    width: int = 192
    horizon: int = 6
    action_dim: int = 2
    commands: int = 3
    mlp_ratio: int = 4
    max_period: float = 10_000.0
    mup_base_width: int = 64

    @property
    def readout_divisor(self) -> float:
        """muP width multiplier that divides the velocity."""
        return self.width / self.mup_base_width


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSpec:
    """Flow matching between noise (t = 0) and scaled positions (t = 1)."""

    steps: int = 10
    sigma_min: float = 0.001
    action_scale_m: float = 70.0
    clip: float | None = None  # bound on the scaled action before it becomes metres


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A whole model. `frame_dt_s` is the context's time grid, `waypoint_dt_s` that of the plan."""

    name: str
    video: VideoSpec
    action: ActionSpec
    flow: FlowSpec = FlowSpec()
    frame_dt_s: float = 0.5
    waypoint_dt_s: float = 0.5

    def __post_init__(self) -> None:
        v, a = self.video, self.action
        for owner, spec in (("video", v), ("action", a), ("flow", self.flow)):
            for f in fields(spec):
                value = getattr(spec, f.name)
                if value is not None and not value > 0:
                    raise ConfigError(f"{owner}.{f.name}: got {value}, expected a positive number")
        if v.width % v.head_size:
            raise ConfigError(f"video.width {v.width} is not a multiple of video.head_size {v.head_size}")
        if a.width % 2:
            raise ConfigError(f"action.width {a.width} must be even (sine and cosine halves)")
        if a.action_dim != 2:
            raise ConfigError(f"action.action_dim: got {a.action_dim}, expected 2 (x forward, y left)")
        if not (self.frame_dt_s > 0 and self.waypoint_dt_s > 0):
            raise ConfigError(f"frame_dt_s {self.frame_dt_s} and waypoint_dt_s {self.waypoint_dt_s} must be positive")

    @property
    def horizon_s(self) -> float:
        """Seconds that a plan covers."""
        return self.action.horizon * self.waypoint_dt_s

    def to_dict(self) -> dict[str, Any]:
        """Plain types for YAML and JSON, with the derived divisors written out so that a reader can see and check them."""
        d = asdict(self)
        d["video"]["readout_divisor"] = self.video.readout_divisor
        d["action"]["readout_divisor"] = self.action.readout_divisor
        return d

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> ModelSpec:
        """Inverse of `to_dict`. Raises ConfigError on a missing or unknown key, DivisorError on a contradicting divisor."""
        d = dict(d)
        try:
            video, v_div = _section(VideoSpec, d.pop("video"), "video")
            action, a_div = _section(ActionSpec, d.pop("action"), "action")
            flow, _ = _section(FlowSpec, d.pop("flow"), "flow")
        except KeyError as e:
            raise ConfigError(f"model specification lacks the section {e}") from e
        unknown = set(d) - {"name", "frame_dt_s", "waypoint_dt_s"}
        if unknown or "name" not in d:
            raise ConfigError(f"model specification: unknown keys {sorted(unknown)}, name {'present' if 'name' in d else 'missing'}")
        spec = cls(video=video, action=action, flow=flow, **d)
        for owner, got, want in (("video", v_div, video.readout_divisor), ("action", a_div, action.readout_divisor)):
            if got is None:
                raise DivisorError(f"{owner}.readout_divisor is missing; without it plans come out wrong by that factor. Convert the checkpoint again.")
            if abs(float(got) - want) > 1e-9 * want:
                raise DivisorError(f"{owner}.readout_divisor: got {got}, but width / mup_base_width is {want}")
        return spec


def _section(kind: type[_S], d: Mapping[str, Any], owner: str) -> tuple[_S, float | None]:
    """Build one sub-spec strictly: every field present, nothing unknown (apart from the written-out divisor)."""
    values = dict(d)
    divisor = values.pop("readout_divisor", None)
    names = {f.name for f in fields(kind)}
    if set(values) != names:
        raise ConfigError(f"model specification, section {owner}: missing {sorted(names - set(values))}, unknown {sorted(set(values) - names)}")
    return kind(**values), divisor


VAVAM_S = ModelSpec(name="vavam-s", video=VideoSpec(), action=ActionSpec())
VAVAM_B = ModelSpec(name="vavam-b", video=VideoSpec(width=1024), action=ActionSpec(width=256))
VAVAM_L = ModelSpec(name="vavam-l", video=VideoSpec(width=2048), action=ActionSpec(width=512))
SMALL = ModelSpec(
    name="small",
    video=VideoSpec(width=256, layers=8, head_size=64, vocabulary=1025, grid_h=9, grid_w=16, mup_base_width=128),
    action=ActionSpec(width=64, mup_base_width=32),
)
PRESETS: dict[str, ModelSpec] = {"small": SMALL, "S": VAVAM_S, "B": VAVAM_B, "L": VAVAM_L}


def with_name(spec: ModelSpec, name: str) -> ModelSpec:
    """The same model under another name."""
    return replace(spec, name=name)
