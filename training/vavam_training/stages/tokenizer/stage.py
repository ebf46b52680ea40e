"""The tokenizer's stage: two players where there is a GAN, one where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.tokenizer import VQ16, TokenizerSpec
from vavam_ros.core.tokenizer.random_init import init_tokenizer
from vavam_training.contracts import Batch, DataError, LossTerms, ParamGroup, Picture
from vavam_training.stages.tokenizer.discriminator import PatchDiscriminator, init_discriminator
from vavam_training.stages.tokenizer.losses import (
    Perceptual,
    codebook_loss,
    commitment_loss,
    edge_loss,
    entropy_loss,
    hinge_discriminator,
    hinge_generator,
    perplexity,
    semantic_loss,
    weighted_mean,
)

POOL = 16_384  # latents that are remembered, to place codes on
USAGE_DECAY = 0.99
DEAD = 0.02  # of its fair share
KMEANS_ROUNDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerOptions:
    """Weights of the losses, and how the codebook comes to life.

    `quantize_from`: steps before it train the network without quantising; then the codes are placed on its latents by k-means, and from then on codes that are
    hardly used move, every `revive_every` steps (0: never), to latents that were seen. `discriminator_from`: step from which the GAN counts
    (`discriminator_weight` 0: no GAN). `semantic`: the codes have to tell `classes` semantic classes apart, too (pictures kept with classes), since
    reconstruction alone spends its bits on walls and sky, and a vehicle far away is a handful of pixels."""

    mse: float = 1.0
    l1: float = 0.0
    edge: float = 0.0
    perceptual: float = 0.0
    codebook: float = 1.0
    commitment: float = 0.25
    entropy: float = 0.0
    semantic: float = 0.0
    classes: int = 10
    discriminator_weight: float = 0.0
    discriminator_from: int = 20_000
    discriminator_width: int = 64
    quantize_from: int = 0
    revive_every: int = 0
    pictures: int = 4

    def __post_init__(self) -> None:
        if any(value < 0 for value in asdict(self).values()):
            raise ConfigError(f"tokenizer stage: got {asdict(self)}, expected no negative numbers")
        if not self.mse + self.l1 > 0.0:
            raise ConfigError("tokenizer stage: got mse 0 and l1 0, expected one of them: nothing would be reconstructed")


class TokenizerNet(nn.Module):
    """The tokenizer, its critic, and what is remembered of its codes."""

    usage: Tensor
    pool: Tensor
    filled: Tensor

    def __init__(self, spec: TokenizerSpec, options: TokenizerOptions, device: torch.device) -> None:
        super().__init__()
        self.vq = VQ16(spec, device=device)
        self.critic = PatchDiscriminator(options.discriminator_width, device=device) if options.discriminator_weight else None
        self.class_head: nn.Conv2d | None = None
        if options.semantic:  # on the decoder's features at half the size
            width = spec.channels * spec.decoder_multipliers[1]
            self.class_head = nn.Conv2d(width, options.classes, 3, 1, 1, device=device)
            for parameter in self.class_head.parameters():
                nn.init.zeros_(parameter)
        self.register_buffer("usage", torch.zeros(spec.codebook_size, device=device))
        self.register_buffer("pool", torch.zeros(POOL, spec.code_dim, device=device))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64, device=device))

    def expand(self, quantized: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, D, h, w) code vectors → pictures (B, 3, H, W), and class logits (B, classes, H/2, W/2) where there is a head for them."""
        if self.class_head is None:
            return self.vq.expand(quantized), None
        kept: list[Tensor] = []
        doubling = self.vq.decoder.conv_blocks[-2].upsample
        assert isinstance(doubling, nn.Module)
        hook = doubling.register_forward_pre_hook(lambda module, inputs: kept.append(inputs[0]))
        try:
            made = self.vq.expand(quantized)
        finally:
            hook.remove()
        return made, self.class_head(kept[0])

    @torch.no_grad()
    def remember(self, latents: Tensor, codes: Tensor | None) -> None:
        """Unit latents (B, D, h, w), and how often each code was chosen."""
        flat = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
        flat = flat[:: max(len(flat) // 256, 1)]
        at = (self.filled + torch.arange(len(flat), device=flat.device)) % POOL
        self.pool[at] = flat.float()
        self.filled += len(flat)
        if codes is not None:
            self.usage.mul_(USAGE_DECAY).add_(torch.bincount(codes.flatten(), minlength=len(self.usage)).float(), alpha=1.0 - USAGE_DECAY)

    @torch.no_grad()
    def place_codes(self, generator: torch.Generator) -> None:
        """Spherical k-means on the remembered latents."""
        known = self.pool[: min(int(self.filled), POOL)]
        codes = known[_drawn(len(known), len(self.usage), generator)]
        for _ in range(KMEANS_ROUNDS):
            nearest = (known @ codes.t()).argmax(dim=1)
            sums = torch.zeros_like(codes).index_add_(0, nearest, known)
            count = torch.bincount(nearest, minlength=len(codes))
            codes = torch.where(count[:, None] > 0, F.normalize(sums, dim=1), known[_drawn(len(known), len(codes), generator)])
        self.vq.quantize.embedding.weight.copy_(codes)

    @torch.no_grad()
    def revive(self, generator: torch.Generator) -> None:
        """Codes that are hardly used move to latents that were seen."""
        fair = float(self.usage.sum()) / len(self.usage)
        dead = self.usage < DEAD * fair
        known = self.pool[: min(int(self.filled), POOL)]
        places = known[_drawn(len(known), len(self.usage), generator)]
        weight = self.vq.quantize.embedding.weight
        weight.copy_(torch.where(dead[:, None], places, weight))
        self.usage.copy_(torch.where(dead, torch.full_like(self.usage, 0.5 * fair), self.usage))


def _drawn(known: int, wanted: int, generator: torch.Generator) -> Tensor:
    """`wanted` numbers below `known`: without repeating one while there are enough."""
    order = torch.randperm(known, generator=generator, device=generator.device)
    return order.repeat(-(-wanted // known))[:wanted]


class TokenizerStage:
    """Reconstruction, quantiser and GAN losses of a VQ-16. Its data are batches of pictures."""

    name = "tokenizer"

    def __init__(
        self, spec: TokenizerSpec, options: TokenizerOptions, seed: int, *, initial: VQ16 | None = None, perceptual: Perceptual | None = None, about: Any = None
    ) -> None:
        """`initial`: weights to go on from. `about`: JSON that goes into the checkpoint's description (camera, licence)."""
        if options.perceptual and perceptual is None:
            raise ConfigError("tokenizer stage: perceptual > 0, but no such network was given; its weights are not part of this project")
        self.spec, self.options, self._seed = spec, options, seed
        self._initial, self._perceptual, self._about = initial, perceptual, dict(about or {})
        self.players: tuple[str, ...] = ("generator", "discriminator") if options.discriminator_weight else ("generator",)

    def build(self, device: torch.device) -> TokenizerNet:
        """New weights, or those given."""
        net = TokenizerNet(self.spec, self.options, device)
        generator = torch.Generator("cpu").manual_seed(self._seed)
        if self._initial is None:
            cpu = VQ16(self.spec, device="cpu")
            init_tokenizer(cpu, generator)
            net.vq.load_state_dict(cpu.state_dict())
        else:
            net.vq.load_state_dict(self._initial.state_dict())
        if net.critic is not None:
            init_discriminator(net.critic, generator)
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # half again as fast on a CPU, faster on a GPU
        return net.requires_grad_(True)

    def groups(self, module: nn.Module, player: str) -> list[ParamGroup]:
        """Tokenizer and its head for classes, or critic."""
        assert isinstance(module, TokenizerNet)
        of = (module.vq, module.class_head) if player == "generator" else (module.critic,)
        return [ParamGroup(name=player, parameters=tuple(p for net in of if net is not None for p in net.parameters()))]

    def loss(self, module: nn.Module, batch: Batch, generator: torch.Generator, player: str, step: int) -> LossTerms:
        """Of one player. Training moves the codebook's memory, looking at held-out pictures does not."""
        assert isinstance(module, TokenizerNet)
        if batch.images is None:
            raise DataError("tokenizer stage: got windows of tokens, expected pictures (`vavam-train data pictures`)")
        learning = torch.is_grad_enabled()
        quantised = step >= self.options.quantize_from or not learning
        if learning and player == "generator":
            self._care(module, generator, step)
        images = batch.images.contiguous(memory_format=torch.channels_last)
        made, parts, total = self._generator(module, images, batch, quantised, learning and player == "generator")
        counts = self.options.discriminator_weight if step + 1 >= self.options.discriminator_from else 0.0  # steps are counted from 1 there
        if player == "discriminator":
            assert module.critic is not None
            loss = hinge_discriminator(module.critic(images), module.critic(made.detach()))
            return LossTerms(total=counts * loss, parts={"hinge": loss.detach()})
        if module.critic is not None and counts:
            adversarial = hinge_generator(module.critic(made))
            total, parts = total + counts * adversarial, parts | {"adversarial": adversarial.detach()}
        return LossTerms(total=total, parts=parts)

    def _care(self, net: TokenizerNet, generator: torch.Generator, step: int) -> None:
        o = self.options
        if o.quantize_from and step == o.quantize_from:
            net.place_codes(generator)
        elif o.revive_every and step > o.quantize_from and step % o.revive_every == 0:
            net.revive(generator)

    def _generator(
        self, net: TokenizerNet, images: Tensor, batch: Batch, quantised: bool, remember: bool
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        o, vq, weight = self.options, net.vq, batch.weight
        pre = vq.latents(images)
        unit = F.normalize(pre.float(), dim=1)
        codes = vq.quantize.search(pre) if quantised else None
        total, through = images.new_zeros(()), unit
        parts: dict[str, Tensor] = {}
        if codes is not None:
            vectors = vq.quantize.lookup(codes)
            through = unit + (vectors - unit).detach()
            losses = {"codebook": o.codebook * codebook_loss(unit, vectors), "commitment": o.commitment * commitment_loss(unit, vectors)}
            if o.entropy:
                losses["entropy"] = o.entropy * entropy_loss(unit, vq.quantize.unit_codebook())
            total = total + sum(losses.values())
            parts |= {k: v.detach() for k, v in losses.items()}
        else:  # the codes take part with nothing, so that optimiser, checkpoint and DDP know them from the first step on
            total = total + 0.0 * vq.quantize.embedding.weight.sum()
        if remember:
            net.remember(unit, codes)
            parts["perplexity"] = perplexity(net.usage)
        made, logits = net.expand(through)
        made = made.float()
        error = made - images
        terms = {"mse": (o.mse, weighted_mean(error.square(), weight)), "l1": (o.l1, weighted_mean(error.abs(), weight))}
        if o.edge:
            terms["edge"] = (o.edge, edge_loss(made, images, weight))
        if o.perceptual and self._perceptual is not None:
            terms["perceptual"] = (o.perceptual, self._perceptual(made, images))
        if logits is not None:
            terms["semantic"] = (o.semantic, semantic_loss(logits.float(), batch.classes, weight))
        total = total + sum(share * term for share, term in terms.values())
        parts |= {name: term.detach() for name, (_, term) in terms.items()}
        parts["psnr_db"] = -10.0 * (((made.detach().clamp(-1, 1) - images) / 2).square().mean() + 1e-12).log10()
        return made, parts, total

    def tokens(self, batch: Batch) -> int:
        """Of the pictures."""
        return 0 if batch.images is None else batch.images.shape[0] * batch.images.shape[2] * batch.images.shape[3] // self.spec.stride**2

    def flops(self, batch: Batch) -> float:
        """Not counted."""
        return 0.0

    @torch.no_grad()
    def pictures(self, module: nn.Module, batch: Batch, seed: int) -> list[Picture]:
        """Held-out pictures above what is left of them."""
        assert isinstance(module, TokenizerNet)
        if batch.images is None or not self.options.pictures:
            return []
        true = batch.images[: self.options.pictures]
        made = module.vq.decode(module.vq.encode(true)).float()
        rows = [np.concatenate(list(_rgb(x)), axis=1) for x in (true, made)]
        return [Picture(name="reconstruction", rgb=np.concatenate(rows), caption="Above: pictures; below: after encoding and decoding.")]

    def weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tokenizer's, under their own names."""
        return {name.removeprefix("vq."): value for name, value in state.items() if name.startswith("vq.")}

    def describe(self) -> dict[str, Any]:
        """The specification, and what was given."""
        return {"spec": None, "tokenizer_spec": self.spec.to_dict(), **self._about}


def _rgb(images: Tensor) -> Any:
    return (127.5 * images + 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
