"""vavam_node: tokenizer_node and planner_node in one process. Token frames are handed over directly, and published where someone listens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sensor_msgs.msg import Image

from vavam_ros.core.artifact import load_artifact, read_card, require_domain
from vavam_ros.core.contracts import Plan
from vavam_ros.core.model.number_format import NumberFormat
from vavam_ros.nodes import convert, visual
from vavam_ros.nodes.model_node import ModelNode, run
from vavam_ros.nodes.node_part import Loaded
from vavam_ros.nodes.planning import Planning
from vavam_ros.nodes.tokenizing import Tokenizing


class VavamNode(ModelNode):
    """Both parts, one odometry. Only here are picture and plan together: `~/overlay`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("vavam_node", ["tokenizer", "planner"], **kwargs)
        self.planning = Planning(self, subscribe_tokens=False, on_plan=self._draw)
        self.tokenizing = Tokenizing(self, on_frame=self.planning.push)
        self.parts = (self.tokenizing, self.planning)

    def load(self, device: torch.device, formats: NumberFormat) -> Loaded:
        """Card, tokenizer and model."""
        p = self.parameters
        require_domain(read_card(p.text("model_dir")), allow_untrained=p.flag("allow_untrained"), allow_synthetic=p.flag("allow_synthetic"))
        artifact = load_artifact(p.text("model_dir"), device, formats.model, p.flag("check_golden"), formats.tokenizer)
        return Loaded(card=artifact.card, device=device, formats=formats, tokenizer=artifact.tokenizer, model=artifact.model)

    def _configure(self) -> None:
        super()._configure()
        self._overlay = self.advertise(Image, "~/overlay")

    def _draw(self, plan: Plan) -> None:
        """The plan on the picture it was made from, for subscribers."""
        if self._overlay.get_subscription_count() == 0:
            return
        picture = next((p for p in self.tokenizing.pictures.copy() if p.stamp_ns == plan.stamp_ns), None)
        drawn = visual.overlay(plan, picture.view, picture.image) if picture is not None else None
        if drawn is not None:
            self._overlay.publish(convert.rgb_msg(drawn, plan.stamp_ns, "camera"))


def main(args: Sequence[str] | None = None) -> None:
    """Run the node."""
    run(VavamNode, args)


if __name__ == "__main__":
    main()
