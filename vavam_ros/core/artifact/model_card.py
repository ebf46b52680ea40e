"""model.yaml: everything about a model that is not a weight, written for people and read strictly."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from vavam_ros.core.camera.camera_model import CanonicalCamera
from vavam_ros.core.contracts import ArtifactError, CameraError, Command, ConfigError, DomainError
from vavam_ros.core.spec import ModelSpec
from vavam_ros.core.tokenizer.vq_network import TokenizerSpec

SCHEMA_VERSION = 1
CARD_FILE = "model.yaml"

Domain = Literal["real", "synthetic_world", "random"]
Kind = Literal["vavam", "vavim"]
CommandRule = Literal["reference", "neuroncap", "lookahead"]

REFERENCE_COMMANDS: dict[str, int] = {c.name.lower(): int(c) for c in Command}

_HEADER = """\
# A model of vavam_ros: read and checked on load, do not edit by hand (the model id covers what is written here).
# Lengths in metres, times in seconds; waypoint i lies (i + 1) * waypoint_dt_s after the image, x forward, y left, in the rear-axle frame.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What a model is. `tokenizer_id` and `model_id` are filled in by whoever writes the artifact."""

    spec: ModelSpec
    tokenizer: TokenizerSpec
    canonical_camera: Mapping[str, Any]  # as CanonicalCamera.to_dict
    domain: Domain
    trained: bool
    licence: str
    kind: Kind = "vavam"  # "vavim": the video model alone, which cannot plan
    command_map: Mapping[str, int] | None = None  # None: the reference's numbers
    command_rule: CommandRule = "reference"
    source: str = ""
    notes: str = ""
    training: Mapping[str, Any] | None = None  # plain types: stages, data with their digests, seeds, revision; None: not known
    tokenizer_id: str = ""
    model_id: str = ""
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if self.command_map is None:
            object.__setattr__(self, "command_map", dict(REFERENCE_COMMANDS))
        if self.domain not in get_args(Domain):
            raise ConfigError(f"domain: got {self.domain!r}, expected one of {get_args(Domain)}")
        if self.kind not in get_args(Kind):
            raise ConfigError(f"kind: got {self.kind!r}, expected one of {get_args(Kind)}")
        if self.command_rule not in get_args(CommandRule):
            raise ConfigError(f"command rule: got {self.command_rule!r}, expected one of {get_args(CommandRule)}")
        self._check_commands()
        CanonicalCamera.from_dict(self.canonical_camera)  # raises what is wrong with it
        v = self.spec.video
        if self.tokenizer.grid_hw != (v.grid_h, v.grid_w):
            raise ConfigError(
                f"tokenizer grid: got {self.tokenizer.grid_hw} from pictures of {self.tokenizer.image_hw}, but the model has {(v.grid_h, v.grid_w)}"
            )
        if self.tokenizer.codebook_size > v.vocabulary:
            raise ConfigError(f"tokenizer codebook: got {self.tokenizer.codebook_size} codes, but the model's vocabulary is {v.vocabulary}")

    def _check_commands(self) -> None:
        commands = self.command_map or {}
        numbers = sorted(commands.values())
        if set(commands) != set(REFERENCE_COMMANDS) or len(set(numbers)) != len(numbers) or numbers[0] < 0 or numbers[-1] >= self.spec.action.commands:
            expected = f"{sorted(REFERENCE_COMMANDS)} with distinct numbers below {self.spec.action.commands}"
            raise ConfigError(f"command map: got {dict(commands)}, expected {expected}")

    @property
    def command_ids(self) -> dict[Command, int]:
        """The number that this model's network knows each command by."""
        return {Command[name.upper()]: number for name, number in (self.command_map or {}).items()}

    @property
    def camera(self) -> CanonicalCamera:
        """What the model looks through."""
        return CanonicalCamera.from_dict(self.canonical_camera)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, in the order of reading."""
        return {
            "schema_version": self.schema_version,
            "name": self.spec.name,
            "model_id": self.model_id,
            "kind": self.kind,
            "domain": self.domain,
            "trained": self.trained,
            "licence": self.licence,
            "source": self.source,
            "notes": self.notes,
            "architecture": {k: v for k, v in self.spec.to_dict().items() if k != "name"},
            "commands": {"map": dict(self.command_map or {}), "rule": self.command_rule},
            "camera": {k: dict(v) if isinstance(v, Mapping) else v for k, v in self.canonical_camera.items()},
            "tokenizer": {"id": self.tokenizer_id, **self.tokenizer.to_dict()},
            **({} if self.training is None else {"training": dict(self.training)}),
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> ModelCard:
        """Inverse of `to_dict`. Raises ArtifactError on an unknown schema or key, ConfigError and DivisorError on values."""
        if d.get("schema_version") != SCHEMA_VERSION:
            got = d.get("schema_version", "none")
            raise ArtifactError(
                f"schema_version: got {got}, expected {SCHEMA_VERSION}: the model was written by another version of vavam_ros, convert it again"
            )
        names = {
            "schema_version",
            "name",
            "model_id",
            "kind",
            "domain",
            "trained",
            "licence",
            "source",
            "notes",
            "architecture",
            "commands",
            "camera",
            "tokenizer",
        }
        training = d.get("training")
        if "training" in d and not isinstance(training, Mapping):
            raise ArtifactError(f"section training: got {training!r}, expected a mapping")
        if set(d) - {"training"} != names:
            raise ArtifactError(f"missing keys {sorted(names - set(d))}, unknown keys {sorted(set(d) - names - {'training'})}")
        for section, keys in (("commands", {"map", "rule"}), ("tokenizer", {"id", *(f.name for f in fields(TokenizerSpec))})):
            if not isinstance(d[section], Mapping) or set(d[section]) != keys:
                raise ArtifactError(f"section {section}: got {d[section]!r}, expected the keys {sorted(keys)}")
        if not isinstance(d["architecture"], Mapping) or not isinstance(d["camera"], Mapping) or not isinstance(d["trained"], bool):
            raise ArtifactError("architecture and camera must be mappings and trained a boolean")
        tokenizer = dict(d["tokenizer"])
        tokenizer_id = tokenizer.pop("id")
        return cls(
            spec=ModelSpec.from_dict({"name": d["name"], **d["architecture"]}),
            tokenizer=TokenizerSpec.from_dict(tokenizer),
            canonical_camera=d["camera"],
            domain=d["domain"],
            trained=d["trained"],
            licence=d["licence"],
            kind=d["kind"],
            command_map=d["commands"]["map"],
            command_rule=d["commands"]["rule"],
            source=d["source"],
            notes=d["notes"],
            training=training,
            tokenizer_id=tokenizer_id,
            model_id=d["model_id"],
        )

    def identified(self, tokenizer_id: str, weights_digest: str) -> ModelCard:
        """The card with its ids: the model's is its name and a hash over weights, tokenizer and all that changes what the model does or may do."""
        card = replace(self, tokenizer_id=tokenizer_id, model_id="")
        content = {k: v for k, v in card.to_dict().items() if k not in ("licence", "source", "notes", "training", "model_id")}
        digest = hashlib.sha256(json.dumps([content, weights_digest], sort_keys=True).encode()).hexdigest()
        return replace(card, model_id=f"{self.spec.name}-{digest[:12]}")


def write_card(path: Path, card: ModelCard) -> None:
    """Write model.yaml."""
    path.write_text(_HEADER + yaml.safe_dump(card.to_dict(), sort_keys=False, width=120, allow_unicode=True), encoding="utf-8")


def read_card(directory: Path | str) -> ModelCard:
    """model.yaml of a model directory, without its weights. Raises ArtifactError (or DivisorError) naming the file."""
    path = Path(directory) / CARD_FILE
    if not path.is_file():
        raise ArtifactError(f"{path} is missing: {directory} is not a model directory; make one with `vavam convert`")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise ArtifactError(f"{path} is not readable YAML ({e}): copy or convert the model again") from e
    if not isinstance(content, Mapping):
        raise ArtifactError(f"{path}: got {type(content).__name__}, expected a mapping: copy or convert the model again")
    try:
        return ModelCard.from_dict(content)
    except ArtifactError as e:
        raise type(e)(f"{path}: {e}") from e
    except (ConfigError, CameraError, TypeError) as e:  # TypeError: a word where a number belongs
        raise ArtifactError(f"{path}: {e}") from e


def require_domain(card: ModelCard, *, allow_untrained: bool, allow_synthetic: bool) -> None:
    """Raise DomainError unless this model may be used here."""
    if (not card.trained or card.domain == "random") and not allow_untrained:
        raise DomainError(
            f"model {card.model_id} has untrained weights (domain {card.domain}): its paths mean nothing; set allow_untrained to run it all the same"
        )
    if card.domain == "synthetic_world" and not allow_synthetic:
        raise DomainError(f"model {card.model_id} was trained in a synthetic world and has not seen a road; set allow_synthetic to run it all the same")
