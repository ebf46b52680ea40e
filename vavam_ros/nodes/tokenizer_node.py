"""tokenizer_node: image + camera_info + odometry → FrameTokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from vavam_ros.core.artifact import load_tokenizer, read_card, require_domain
from vavam_ros.core.model.number_format import NumberFormat
from vavam_ros.nodes.model_node import ModelNode, run
from vavam_ros.nodes.node_part import Loaded
from vavam_ros.nodes.tokenizing import Tokenizing


class TokenizerNode(ModelNode):
    """Reads only the tokenizer of a model directory."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("tokenizer_node", ["tokenizer"], **kwargs)
        self.tokenizing = Tokenizing(self)
        self.parts = (self.tokenizing,)

    def load(self, device: torch.device, formats: NumberFormat) -> Loaded:
        """Card and tokenizer."""
        p = self.parameters
        card = read_card(p.text("model_dir"))
        require_domain(card, allow_untrained=p.flag("allow_untrained"), allow_synthetic=p.flag("allow_synthetic"))
        return Loaded(card=card, device=device, formats=formats, tokenizer=load_tokenizer(p.text("model_dir"), device, formats.tokenizer))


def main(args: Sequence[str] | None = None) -> None:
    """Run the node."""
    run(TokenizerNode, args)


if __name__ == "__main__":
    main()
