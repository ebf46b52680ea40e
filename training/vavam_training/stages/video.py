"""Stages 1 and 2: the next token of a video (VaViM; arXiv 2502.15672). Fine-tuning is the same from given weights, on a mixture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.model import VideoModel, init_weights, next_token_loss
from vavam_ros.core.spec import ModelSpec
from vavam_ros.core.tokenizer import VQ16
from vavam_training.contracts import Batch, LossTerms, ParamGroup, Picture
from vavam_training.loop.checkpoints import BEGAN
from vavam_training.loop.optim import mup_groups_video
from vavam_training.stages.costs import video_forward_flops
from vavam_training.stages.drawing import generated_beside_true
from vavam_training.stages.embedding import embed_codes


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoOptions:
    """Numbers of the stage. `init_std`: of the reference's initialisation, where the weights are new. `zero_query`: queries begin at zero.
    `codebook_embedding`: the token embeddings of new weights begin where the tokenizer's codes lie."""

    init_std: float = 0.0289
    zero_query: bool = True
    codebook_embedding: bool = False
    checkpoint_activations: bool = False
    pictures: int = 2

    def __post_init__(self) -> None:
        if self.init_std <= 0.0 or self.pictures < 0:
            raise ConfigError(f"video stage: got init_std {self.init_std}, pictures {self.pictures}, expected positive, 0 or more")


class VideoNet(nn.Module):
    """VaViM under the name that it has in VaVAM."""

    def __init__(self, video: VideoModel) -> None:
        super().__init__()
        self.video = video


class VideoStage:
    """Next-token cross-entropy over all tokens of the window but the first."""

    players: tuple[str, ...] = ("model",)

    def __init__(
        self,
        spec: ModelSpec,
        options: VideoOptions,
        seed: int,
        *,
        name: str = "pretrain",
        initial: VideoModel | None = None,
        tokenizer: VQ16 | None = None,
        began_with: Mapping[str, Any] | None = None,
    ) -> None:
        """`initial`: weights to start from (fine-tuning); `tokenizer`: to decode pictures for people; `began_with`: what is known of the former."""
        self.name, self.spec, self.options, self._seed = name, spec, options, seed
        self._initial, self._tokenizer, self._began_with = initial, tokenizer, began_with
        if initial is not None and initial.spec != spec.video:
            raise ConfigError(f"video stage: the weights given are of {initial.spec}, expected {spec.video}")

    def build(self, device: torch.device) -> VideoNet:
        """New weights, or those given."""
        video = VideoModel(self.spec.video, device=device, dtype=torch.float32)
        if self._initial is None:
            generator = torch.Generator("cpu").manual_seed(self._seed)
            init_weights(video, generator, video_std=self.options.init_std, zero_query=self.options.zero_query)
            if self.options.codebook_embedding:
                embed_codes(video, self._tokenizer, self.options.init_std, generator)
        else:
            video.load_state_dict(self._initial.state_dict())
        return VideoNet(video.requires_grad_(True))

    def groups(self, module: nn.Module, player: str) -> list[ParamGroup]:
        """All of them, in muP's groups."""
        assert isinstance(module, VideoNet)
        return mup_groups_video(module.video)

    def loss(self, module: nn.Module, batch: Batch, generator: torch.Generator, player: str, step: int) -> LossTerms:
        """Mean over tokens. Parts: bits per token."""
        assert isinstance(module, VideoNet)
        logits = self._logits(module.video, batch.tokens)
        loss = next_token_loss(logits.float(), batch.tokens)
        return LossTerms(total=loss, parts={"bits_per_token": loss.detach() / torch.log(torch.tensor(2.0, device=loss.device))})

    def _logits(self, video: VideoModel, tokens: Tensor) -> Tensor:
        if not self.options.checkpoint_activations or not torch.is_grad_enabled():
            logits: Tensor = video(tokens)
            return logits
        video.check(tokens)
        x = video.embed(tokens.flatten(1))
        for layer in range(video.spec.layers):
            x = checkpoint(video.layer, layer, x, use_reentrant=False)
        return video.readout(x)

    def tokens(self, batch: Batch) -> int:
        """Those that are predicted from."""
        return batch.tokens.numel()

    def flops(self, batch: Batch) -> float:
        """Forward, and twice that backward."""
        return 3.0 * batch.tokens.shape[0] * video_forward_flops(self.spec.video, batch.tokens.shape[1])

    @torch.no_grad()
    def pictures(self, module: nn.Module, batch: Batch, seed: int) -> list[Picture]:
        """The second half of some windows as the model goes on from the first, beside what came."""
        assert isinstance(module, VideoNet)
        frames = self.spec.video.frames
        if self._tokenizer is None or frames < 2:
            return []
        return generated_beside_true(module.video, self._tokenizer, batch.tokens[: self.options.pictures], frames // 2, seed)

    def weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All."""
        return dict(state)

    def describe(self) -> dict[str, Any]:
        """The specification, and what the weights began with."""
        return {"spec": self.spec.to_dict(), "tokenizer_spec": None, BEGAN: self._began_with}
