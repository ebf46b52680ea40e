"""What a replay remembers for its report: all plans, all stage times, and a few pictures spread over the drive."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from vavam_ros.core.artifact.model_card import ModelCard
from vavam_ros.core.camera.view import ViewTransform
from vavam_ros.core.contracts import U8, Plan
from vavam_ros.replay.inputs import BagInputs
from vavam_ros.replay.runner import Step


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeptFrame:
    """One picture of the report: as recorded, and as the model saw it."""

    plan_index: int
    recorded: U8
    model_image: U8
    view: ViewTransform
    context_frames: int


@dataclass(slots=True)
class KeptFrames:
    """Keeps the first plan after each of a few moments spread evenly: bounded memory whatever the length of the drive."""

    moments_ns: list[int]
    frames: list[KeptFrame] = field(default_factory=list)

    @classmethod
    def spread(cls, start_ns: int, end_ns: int, count: int = 8) -> KeptFrames:
        """`count` moments between start and end; the first a little in, so that the context has filled."""
        share = (np.arange(count) + 0.4) / count
        return cls([int(start_ns + s * (end_ns - start_ns)) for s in share])

    def offer(self, step: Step, plan_index: int) -> None:
        """Keep this one if its moment has come."""
        picture, model_image, view = step.picture, step.model_image, step.view
        if not self.moments_ns or step.log_ns < self.moments_ns[0] or picture is None or model_image is None or step.plan is None:
            return
        while self.moments_ns and self.moments_ns[0] <= step.log_ns:
            self.moments_ns.pop(0)
        frame = KeptFrame(plan_index=plan_index, recorded=picture, model_image=model_image, view=view, context_frames=len(step.plan.context_stamps_ns))
        self.frames.append(frame)


@dataclass(slots=True)
class StepLog:
    """All steps in short."""

    kept: KeptFrames
    plans: list[Plan] = field(default_factory=list)
    stage_ms: dict[str, list[float]] = field(default_factory=dict)
    canonical: bool = True
    camera_ids: set[str] = field(default_factory=set)
    coverage: float | None = None

    def take(self, step: Step) -> None:
        """Remember one step."""
        self.canonical &= step.frame.canonical
        self.camera_ids.add(step.frame.camera_id)
        self.coverage = step.frame.coverage
        for stage, ms in (*step.encode_ms, *(step.plan.stage_ms if step.plan else ())):
            self.stage_ms.setdefault(stage, []).append(ms)
        if step.plan is not None:
            self.kept.offer(step, len(self.plans))
            self.plans.append(step.plan)

    def warnings(self, card: ModelCard, inputs: BagInputs) -> list[str]:
        """What must be known before any number is read."""
        out = []
        if not card.trained:
            out.append("The weights are untrained (random): the paths mean nothing. This run shows that the pipeline works, not how well anything drives.")
        elif card.domain == "synthetic_world":
            out.append("The model was trained in a synthetic world only: its paths on real pictures mean little.")
        if not self.canonical:
            seen = "" if not self.coverage else f" This camera sees {self.coverage:.0%} of the view that the model expects."
            out.append(f"The camera is not canonical: pictures were only resized, so their geometry is not the model's.{seen} Drawings are approximate.")
        if inputs.pose_quality == "estimated":
            out.append("The odometry of this bag is estimated, not measured: errors and recorded paths are only as good as that estimate.")
        elif inputs.pose_quality is None:
            out.append("The bag does not say where its odometry comes from; it is taken as measured.")
        return out
