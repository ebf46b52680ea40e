"""One step of training: forward, backward, clip, update, for one process or many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from vavam_ros.core.contracts import ConfigError
from vavam_training.contracts import Batch, Stage, TrainingError
from vavam_training.loop.config import LoopConfig
from vavam_training.loop.optim import adamw, set_rate
from vavam_training.loop.processes import Processes
from vavam_training.loop.schedule import learning_rate

NET = "net."  # the stage's module in the names of the wrapper's state
HELD_OUT_SEED = 1 << 40


class _Forward(nn.Module):
    """The stage's loss as a forward: what DDP and FSDP2 hook into."""

    def __init__(self, stage: Stage, net: nn.Module, precision: str) -> None:
        super().__init__()
        self.net, self._stage, self._bf16 = net, stage, precision == "bf16"

    def forward(self, batch: Batch, seed: int, player: str, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Loss of one micro-batch, and its parts."""
        device = batch.source.device
        generator = torch.Generator(device).manual_seed(seed)
        with torch.autocast(device.type, torch.bfloat16, enabled=self._bf16):
            terms = self._stage.loss(self.net, batch, generator, player, step)
        return terms.total, terms.parts


class Stepper:
    """Module, optimisers and how they are shared among processes."""

    def __init__(self, stage: Stage, config: LoopConfig, processes: Processes) -> None:
        missing = set(stage.players) ^ set(config.players)
        if missing:
            raise ConfigError(f"players: got {sorted(config.players)}, expected {sorted(stage.players)}, those of stage {stage.name}")
        self._stage, self._config, self._processes = stage, config, processes
        net = stage.build(processes.device)
        self.net = net
        self.module: nn.Module = _Forward(stage, net, config.precision)
        strategy = "ddp" if config.strategy == "auto" else config.strategy
        if processes.control is not None:
            if strategy == "fsdp2":
                # The whole module is one unit: blocks are reached through methods, not through their forward. Sharded so: optimiser states and gradients,
                # and the weights between steps (what the reference has as DeepSpeed's stage 2).
                fully_shard(self.module)
            else:
                self.module = DistributedDataParallel(self.module, find_unused_parameters=len(stage.players) > 1, gradient_as_bucket_view=True)
        self._forward = torch.compile(self.module) if config.compile else self.module
        self.optimizers = {player: adamw(stage.groups(net, player), config.players[player].optim) for player in stage.players}

        learning = {name: p for name, p in net.named_parameters() if p.requires_grad} if config.ema else {}
        self._learning = list(learning.values())
        self.ema = {name: p.detach().clone() for name, p in learning.items()}

    @torch.no_grad()
    def _average(self, number: int) -> None:
        if self.ema:
            decay = min(self._config.ema, (1.0 + number) / (10.0 + number))
            for mean, p in zip(self.ema.values(), self._learning, strict=True):
                mean.lerp_(p, 1.0 - decay)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """With the moving average in the place of the weights, where there is one."""
        with torch.no_grad():
            kept = [p.detach().clone() for p in self._learning]
            for mean, p in zip(self.ema.values(), self._learning, strict=True):
                p.copy_(mean)
        try:
            yield
        finally:
            with torch.no_grad():
                for before, p in zip(kept, self._learning, strict=True):
                    p.copy_(before)

    def state_dict_order(self) -> list[torch.optim.Optimizer]:
        """Optimisers, in the order of the stage's players."""
        return [self.optimizers[player] for player in self._stage.players]

    def step(self, number: int, parts: Sequence[tuple[int, Batch]]) -> dict[str, Tensor]:
        """Step `number` (from 0) on this process's micro-batches, each with its number. Returns what to log, as tensors: nobody has waited for them.

        Raises TrainingError where loss or gradients are not finite."""
        told: dict[str, Tensor] = {}
        for player in self._stage.players:
            total = self._player(number, parts, player)
            several = len(self._stage.players) > 1
            told |= {f"{player}/{k}" if several else k: v for k, v in total.items()}
        self._average(number)
        return told

    def _player(self, number: int, parts: Sequence[tuple[int, Batch]], player: str) -> dict[str, Tensor]:
        config, optimizer = self._config.players[player], self.optimizers[player]
        for other in self.optimizers.values():
            other.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for i, (part, batch) in enumerate(parts):
            last = i == len(parts) - 1
            with self._synced(last):
                loss, terms = self._forward(batch, seed_of(self._config.seed, number, part), player, number)
                (loss / len(parts)).backward()
            for name, value in {"loss": loss.detach(), **terms}.items():
                sums[name] = sums.get(name, 0.0) + value.detach().float() / len(parts)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, config.optim.clip or float("inf"))
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        rate = learning_rate(number + config.schedule.first_step, config.schedule)
        set_rate(optimizer, rate)
        optimizer.step()
        return sums | {"gradient_norm": norm.detach(), "lr": torch.tensor(rate, device="cpu")}

    def _synced(self, last: bool) -> AbstractContextManager[None]:
        """Gradients are exchanged with the last micro-batch of a step only."""
        if isinstance(self.module, FSDPModule):
            self.module.set_requires_gradient_sync(last)
        elif isinstance(self.module, DistributedDataParallel) and not last:
            return self.module.no_sync()
        return nullcontext()

    @torch.no_grad()
    def held_out(self, batches: Sequence[Batch], player: str) -> dict[str, Tensor]:
        """Mean loss over batches that are not trained on; the same noise each time."""
        sums: dict[str, Tensor] = {}
        for i, batch in enumerate(batches):
            loss, terms = self._forward(batch, seed_of(HELD_OUT_SEED + self._config.seed, 0, i), player, 0)
            for name, value in {"loss": loss, **terms}.items():
                sums[name] = sums.get(name, 0.0) + value.detach().float() / len(batches)
        return sums


def seed_of(seed: int, step: int, part: int) -> int:
    """Seed of one micro-batch's noise: the same whoever computes it."""
    mask = (1 << 64) - 1
    x = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + part * 0x94D049BB133111EB + 1) & mask
    x ^= x >> 31  # neighbouring steps give seeds that share no low bits
    return (x * 0xD6E8FEB86659FD93 & mask) >> 1


def check_finite(number: int, values: Mapping[str, float]) -> None:
    """Raises TrainingError for a loss or norm that is not a number."""
    bad = {k: v for k, v in values.items() if v != v or abs(v) == float("inf")}
    if bad:
        raise TrainingError(f"step {number}: got {bad}, expected finite numbers; lower the learning rate, or go on from an earlier checkpoint (RUN/latest)")
