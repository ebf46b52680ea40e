"""planner_node: FrameTokens + odometry + command → paths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from vavam_ros.core.artifact import load_artifact, read_card, require_domain
from vavam_ros.core.model.number_format import NumberFormat
from vavam_ros.nodes.model_node import ModelNode, run
from vavam_ros.nodes.node_part import Loaded
from vavam_ros.nodes.planning import Planning


class PlannerNode(ModelNode):
    """Reads the whole model directory (its recorded output needs the tokenizer), keeps the video model and the action expert."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("planner_node", ["planner"], **kwargs)
        self.planning = Planning(self, subscribe_tokens=True)
        self.parts = (self.planning,)

    def load(self, device: torch.device, formats: NumberFormat) -> Loaded:
        """Card and model."""
        p = self.parameters
        require_domain(read_card(p.text("model_dir")), allow_untrained=p.flag("allow_untrained"), allow_synthetic=p.flag("allow_synthetic"))
        artifact = load_artifact(p.text("model_dir"), device, formats.model, p.flag("check_golden"))
        return Loaded(card=artifact.card, device=device, formats=formats, model=artifact.model)


def main(args: Sequence[str] | None = None) -> None:
    """Run the node."""
    run(PlannerNode, args)


if __name__ == "__main__":
    main()
