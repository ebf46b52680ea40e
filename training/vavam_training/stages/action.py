"""Stage 3: the action expert learns by flow matching to drive from what the video model sees (VaVAM; arXiv 2502.15672)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from einops import repeat
from torch import Tensor, nn

from vavam_ros.core.contracts import U8, ConfigError
from vavam_ros.core.model import Context, VaVAM, VideoModel, init_weights, next_token_loss
from vavam_ros.core.model.flow import interpolant, sample_time_beta, sample_time_uniform, target_velocity
from vavam_ros.core.spec import ModelSpec
from vavam_ros.core.tokenizer import VQ16
from vavam_training.contracts import Batch, DataError, LossTerms, ParamGroup, Picture
from vavam_training.loop.checkpoints import BEGAN
from vavam_training.loop.optim import mup_groups_action, mup_groups_video
from vavam_training.stages import frames_attention
from vavam_training.stages.costs import action_forward_flops, video_context_flops, video_forward_flops
from vavam_training.stages.drawing import decoded, seen_from_above
from vavam_training.stages.embedding import embed_codes
from vavam_training.stages.recomputing import recomputed_context

TIMES = ("beta", "uniform")


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionOptions:
    """Numbers of the stage.

    `detach_video`: the video model is computed without a graph: same gradients for the expert at less work. Only with `train_video` false.
    `train_video`: the video model learns too, from the actions' loss and `video_loss` times its own.
    `time`: how flow times are drawn (beta as the reference, or uniform). `noise_draws`: noises and times for each plan; all read the same video context, which
    costs far more than the expert. `codebook_embedding`: a new video model's token embeddings begin where the tokenizer's codes lie.
    `waypoint_weights`: a pair (ahead, to the left) for each waypoint, by which squared errors are weighted (scaled to a mean of 1; empty: all alike).
    The flow that is learned stays the same, each coordinate's best velocity being its own mean; a mean over metres would spend the model on how far ahead
    the last waypoint lies, which is uncertain anyway, and not on the decimetres to the side that steering needs.
    `checkpoint_activations`: of a video model that learns, keep each layer's keys and values alone and compute the rest again for the gradient: less memory
    for one more forward.
    Plans are learned for every frame of a window from the frames up to it, so each length of context is learned too."""

    init_std: float = 0.0086
    video_init_std: float = 0.0289
    detach_video: bool = True
    train_video: bool = False
    video_loss: float = 0.0
    time: str = "beta"
    noise_draws: int = 1
    codebook_embedding: bool = False
    checkpoint_activations: bool = False
    waypoint_weights: tuple[tuple[float, float], ...] = ()
    pictures: int = 4

    def __post_init__(self) -> None:
        if self.time not in TIMES:
            raise ConfigError(f"action stage: time got {self.time!r}, expected one of {TIMES}")
        if self.video_loss and not self.train_video:
            raise ConfigError("action stage: video_loss needs train_video: a frozen video model learns nothing from it")
        if self.train_video and self.detach_video:
            raise ConfigError("action stage: train_video needs detach_video: false; without a graph the video model learns nothing")
        if self.checkpoint_activations and not self.train_video:
            raise ConfigError("action stage: checkpoint_activations needs train_video: of a frozen video model nothing is kept that could be computed again")
        if {len(pair) for pair in self.waypoint_weights} - {2} or any(min(pair) <= 0.0 for pair in self.waypoint_weights):
            raise ConfigError(f"action stage: waypoint_weights got {self.waypoint_weights}, expected pairs (ahead, to the left) above 0")
        if self.init_std <= 0.0 or self.video_loss < 0.0 or self.noise_draws < 1 or self.pictures < 0:
            got = f"init_std {self.init_std}, video_loss {self.video_loss}, noise_draws {self.noise_draws}, pictures {self.pictures}"
            raise ConfigError(f"action stage: got {got}, expected positive, 0 or more, 1 or more, 0 or more")


class ActionStage:
    """Mean squared error of the flow's velocity, over all frames of the window. `video`: weights of the video model; None: new ones, at random."""

    players: tuple[str, ...] = ("model",)

    def __init__(
        self,
        spec: ModelSpec,
        options: ActionOptions,
        seed: int,
        *,
        name: str = "action",
        video: VideoModel | None = None,
        initial: VaVAM | None = None,
        tokenizer: VQ16 | None = None,
        began_with: Mapping[str, Any] | None = None,
    ) -> None:
        """`initial`: a whole model to go on from; `tokenizer`: to decode pictures for people; `began_with`: what is known of the weights given."""
        self.name, self.spec, self.options, self._seed = name, spec, options, seed
        self._video, self._initial, self._tokenizer, self._began_with = video, initial, tokenizer, began_with
        given = initial.spec.video if initial is not None else video.spec if video is not None else spec.video
        if given != spec.video or (initial is not None and initial.spec.action != spec.action):
            raise ConfigError(f"action stage: the weights given are of another size ({given}), expected {spec.video}, {spec.action}")
        if len(options.waypoint_weights) not in (0, spec.action.horizon):
            raise ConfigError(f"action stage: got {len(options.waypoint_weights)} waypoint_weights, expected one for each of {spec.action.horizon} waypoints")

    def build(self, device: torch.device) -> VaVAM:
        """The expert new, or as given; the video model as given, or new."""
        model = VaVAM(self.spec, device=device, dtype=torch.float32)
        o = self.options
        generator = torch.Generator("cpu").manual_seed(self._seed)
        init_weights(model, generator, video_std=o.video_init_std, action_std=o.init_std)
        if o.codebook_embedding:
            embed_codes(model.video, self._tokenizer, o.video_init_std, generator)
        if self._initial is not None:
            model.load_state_dict(self._initial.state_dict())
        if self._video is not None:
            model.video.load_state_dict(self._video.state_dict())
        model.requires_grad_(True)
        model.video.requires_grad_(o.train_video)
        return model

    def groups(self, module: nn.Module, player: str) -> list[ParamGroup]:
        """The expert's, and the video model's where it learns."""
        assert isinstance(module, VaVAM)
        groups = mup_groups_action(module.action, self.spec.video.readout_divisor)
        return groups + (mup_groups_video(module.video) if self.options.train_video else [])

    def loss(self, module: nn.Module, batch: Batch, generator: torch.Generator, player: str, step: int) -> LossTerms:
        """Mean over batch, frames, draws, waypoints. Parts: the video's own loss where it counts."""
        assert isinstance(module, VaVAM)
        if batch.positions_m is None or batch.command is None:
            raise DataError("action stage: got windows without trajectories; use data with poses (labelled windows)")
        again = self.options.checkpoint_activations and torch.is_grad_enabled()
        if not self.options.video_loss:
            context = recomputed_context(module.video, batch.tokens)[0] if again else None
            return LossTerms(total=self.flow_loss(module, batch.tokens, batch.positions_m, batch.command, generator, context))
        if again:
            context, state = recomputed_context(module.video, batch.tokens)
            logits = module.video.readout(state)
        else:
            context, logits = module.video.context_and_logits(batch.tokens)
        flow = self.flow_loss(module, batch.tokens, batch.positions_m, batch.command, generator, context)
        video = next_token_loss(logits.float(), batch.tokens)
        return LossTerms(total=flow + self.options.video_loss * video, parts={"flow": flow.detach(), "video": video.detach()})

    def flow_loss(
        self, model: VaVAM, tokens: Tensor, positions_m: Tensor, command: Tensor, generator: torch.Generator, context: Context | None = None
    ) -> Tensor:
        """tokens (B, T, h, w), positions_m (B, T, H, 2), command (B, T). Equal to `VaVAM.action_loss` for one draw of noise and time.

        `context`: of these tokens, where it was computed already. Plans whose positions are not finite are no examples: they do not count."""
        flow, draws = self.spec.flow, self.options.noise_draws
        scaled = repeat(positions_m / flow.action_scale_m, "b t h two -> b (d t) h two", d=draws)
        known = scaled.isfinite().all(dim=-1).all(dim=-1)  # (B, d·T)
        data = torch.where(known[..., None, None], scaled, 0.0)
        lead = data.shape[:2]
        noise = torch.randn(data.shape, generator=generator, device=generator.device, dtype=torch.float32).to(data.device)
        if self.options.time == "beta":
            time = sample_time_beta(lead, flow.sigma_min, generator=generator, device=data.device)
        else:
            time = sample_time_uniform(lead, generator=generator, device=data.device)
        commands = repeat(command, "b t -> b (d t)", d=draws)
        noisy = interpolant(noise, data, time, flow.sigma_min)
        if context is None:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.options.detach_video):
                context = model.video.context(tokens)
        if frames_attention.available(tokens.device):
            velocity = frames_attention.velocity_of_frames(model, context, noisy, time, commands)
        else:
            velocity = model.velocity_of_frames(context, noisy, time, commands)
        error = (velocity.float() - target_velocity(noise, data, flow.sigma_min)).square()
        if self.options.waypoint_weights:
            weights = error.new_tensor(self.options.waypoint_weights)
            error = error * (weights / weights.mean())
        error = error.mean(dim=(-1, -2))
        return (error * known).sum() / known.sum().clamp_min(1)

    def tokens(self, batch: Batch) -> int:
        """Image tokens that are read."""
        return batch.tokens.numel()

    def flops(self, batch: Batch) -> float:
        """The video forward as far as it is needed, the expert forward and backward; the video backward where there is a graph."""
        b, t = batch.tokens.shape[:2]
        video = video_forward_flops(self.spec.video, t) if self.options.video_loss else video_context_flops(self.spec.video, t)
        return float(b) * (video * (1.0 if self.options.detach_video else 3.0) + 3.0 * self.options.noise_draws * action_forward_flops(self.spec, t))

    @torch.no_grad()
    def pictures(self, module: nn.Module, batch: Batch, seed: int) -> list[Picture]:
        """Eight sampled trajectories of the newest frame from above, beside the picture that the model saw."""
        assert isinstance(module, VaVAM)
        if batch.positions_m is None or batch.command is None or not self.options.pictures:
            return []
        rows = []
        known = batch.positions_m[:, -1].isfinite().all(dim=-1).all(dim=-1)  # (B,): a frame without advice, or moved by hand, has no trajectory to show
        shown = sorted(range(len(known)), key=lambda i: not bool(known[i]))[: self.options.pictures]
        for i in shown:
            generator = torch.Generator("cpu").manual_seed(seed + i)
            noise = torch.randn((8, self.spec.action.horizon, 2), generator=generator, device="cpu", dtype=torch.float32).to(batch.tokens.device)
            samples = module.sample(module.context(batch.tokens[i : i + 1]), noise, batch.command[i, -1:])
            above = seen_from_above(samples.cpu().double().numpy(), batch.positions_m[i, -1].cpu().double().numpy(), int(batch.command[i, -1]))
            rows.append(self._beside_frame(batch.tokens[i, -1], above))
        return [Picture(name="plans", rgb=np.concatenate(rows, axis=1), caption="Green: what was driven or advised, where that is known; blue: eight samples.")]

    def _beside_frame(self, tokens: Tensor, above: U8) -> U8:
        if self._tokenizer is None:
            return above
        frame = decoded(self._tokenizer, tokens[None])[0]
        scale = above.shape[1] / frame.shape[1]
        small: U8 = cv2.resize(frame, (above.shape[1], round(frame.shape[0] * scale)), interpolation=cv2.INTER_AREA).astype(np.uint8)
        return np.concatenate([small, above])

    def weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All."""
        return dict(state)

    def describe(self) -> dict[str, Any]:
        """The specification, and what the weights began with."""
        return {"spec": self.spec.to_dict(), "tokenizer_spec": None, BEGAN: self._began_with}
