"""What a video model expects next on a bag: moments of the drive, the frames seen until then, the frames it makes up, and the frames that came.

Shape letters: M moments · C frames seen · G frames generated · h w token grid · H W picture.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vavam_ros.bags import BagReader
from vavam_ros.core.camera import ViewTransform, to_model_input
from vavam_ros.core.contracts import F64, NS_PER_S, U8, BagError, ConfigError
from vavam_ros.core.history.token_ring import RingConfig
from vavam_ros.core.model import VideoModel
from vavam_ros.core.model.generate import generate_frames
from vavam_ros.core.tokenizer import VQ16
from vavam_ros.replay import messages
from vavam_ros.replay.inputs import CameraSource, PictureInputs
from vavam_ros.replay.playback import header_stamp_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class DreamConfig:
    """How much is seen and made up. `seen`: None for what fits into the model's window beside `generated`, half of it at least.

    `at_s`: moments, in seconds from the first picture; None: `moments` of them, spread evenly. `top_k`: 1 is the likeliest token each time, None draws
    from all."""

    moments: int = 4
    generated: int = 4
    seen: int | None = None
    at_s: tuple[float, ...] | None = None
    top_k: int | None = 1
    temperature: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.moments < 1 or self.generated < 1 or (self.seen is not None and self.seen < 1):
            raise ConfigError(f"dream: got {self.moments} moments, {self.generated} frames made up, {self.seen} seen; expected one or more of each")
        if self.at_s is not None and not (self.at_s and np.isfinite(self.at_s).all()):
            raise ConfigError(f"dream: got the moments {list(self.at_s)}, expected finite seconds, one or more")
        if (self.top_k is not None and self.top_k < 1) or not self.temperature > 0:
            raise ConfigError(f"dream: got top_k {self.top_k}, temperature {self.temperature}; expected at least one token to draw from, and more than 0")

    def frames_seen(self, window: int) -> int:
        """C, for a model that looks at `window` frames. Raises ConfigError for more than it can look at while it makes up another."""
        seen = max(1, window // 2, window - self.generated) if self.seen is None else self.seen
        if seen > max(1, window - 1):
            raise ConfigError(f"dream: got {seen} frames to see, expected at most {window - 1}: the model looks at {window}, of which one is the next")
        return seen


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dream:
    """One moment. `seen_rgb`: as the model sees them, through the tokenizer; `true_rgb`: the model's view of the recorded pictures."""

    at_s: float  # of the newest frame seen, from the bag's first picture
    dt_s: float
    seen_rgb: U8  # (C, H, W, 3)
    expected_rgb: U8  # (G, H, W, 3)
    true_rgb: U8  # (C + G, H, W, 3)
    seen_tokens: npt.NDArray[np.int64]  # (C, h, w)
    expected_tokens: npt.NDArray[np.int64]  # (G, h, w)
    true_tokens: npt.NDArray[np.int64]  # (G, h, w) that came


def picture_stamps(reader: BagReader, topic: str, progress: Callable[[int], object]) -> list[int]:
    """Header stamps that grow; a picture that is not newer than those before it does not count. Raises BagError where there is none."""
    stamps: list[int] = []
    for message in reader.messages([topic]):
        stamp_ns = header_stamp_ns(message.data)
        if stamp_ns > (stamps[-1] if stamps else 0):
            stamps.append(stamp_ns)
        progress(1)
    if not stamps:
        raise BagError(f"{reader.path}: no picture of {topic} has a header stamp; record them with one")
    return stamps


def choose_moments(stamps_ns: Sequence[int], config: DreamConfig, *, seen: int, dt_s: float, tolerance_s: float = RingConfig().tolerance_s) -> list[list[int]]:
    """For each moment the stamps of its C + G pictures, one every `dt_s` within the tolerance. Raises ConfigError where there is no such moment."""
    found = {}
    for i, present in enumerate(stamps_ns):
        slots = [_nearest(stamps_ns, present + round(k * dt_s * NS_PER_S), tolerance_s) for k in range(1 - seen, config.generated + 1)]
        whole = [s for s in slots if s is not None]
        if len(whole) == len(slots) == len(set(whole)):
            found[i] = whole
    if not found:
        span = (stamps_ns[-1] - stamps_ns[0]) / NS_PER_S
        wanted = f"{seen} frames to see and {config.generated} that follow, one every {dt_s:g} s"
        raise ConfigError(f"dream: nowhere in {len(stamps_ns)} pictures of {span:.1f} s are {wanted}; take fewer (--seen, --frames) or a longer drive")
    if config.at_s is None:
        share = (np.arange(config.moments) + 0.5) / config.moments
        keys = list(found)
        return [found[k] for k in sorted({keys[int(s * len(keys))] for s in share})]
    return [found[_asked(stamps_ns, at, list(found))] for at in config.at_s]


def _nearest(stamps_ns: Sequence[int], wanted_ns: int, tolerance_s: float) -> int | None:
    i = bisect_left(stamps_ns, wanted_ns)
    best = min(stamps_ns[max(i - 1, 0) : i + 1], key=lambda s: abs(s - wanted_ns))
    return best if abs(best - wanted_ns) <= round(tolerance_s * NS_PER_S) else None


def _asked(stamps_ns: Sequence[int], at_s: float, usable: Sequence[int]) -> int:
    best = min(usable, key=lambda i: abs(stamps_ns[i] - stamps_ns[0] - at_s * NS_PER_S))
    if abs(stamps_ns[best] - stamps_ns[0] - at_s * NS_PER_S) > 0.5 * NS_PER_S:
        first, last = ((stamps_ns[i] - stamps_ns[0]) / NS_PER_S for i in (usable[0], usable[-1]))
        raise ConfigError(f"dream: --at {at_s:g}: too few pictures around it; usable moments lie between {first:.1f} and {last:.1f} s")
    return best


def read_pictures(
    reader: BagReader, inputs: PictureInputs, source: CameraSource, wanted_ns: set[int], progress: Callable[[int], object]
) -> tuple[dict[int, U8], ViewTransform]:
    """Stamp → the model's view (H, W, 3), for the wanted ones, and the last view. Raises InputError, CameraError for a picture that cannot be used."""
    view, pictures = source.first_view(reader), dict[int, U8]()
    topics = {inputs.image.name} | ({inputs.camera_info.name} if inputs.camera_info else set())
    for message in reader.messages(topics):
        if message.topic != inputs.image.name:
            view = source.updated_view(reader, message) or view
        elif (stamp_ns := header_stamp_ns(message.data)) in wanted_ns and stamp_ns not in pictures:
            pictures[stamp_ns] = view(messages.image_from(reader.decode(message), message.type_name).rgb)
            progress(1)
            if len(pictures) == len(wanted_ns):
                break
    return pictures, view


@torch.inference_mode()
def dream(
    video: VideoModel,
    tokenizer: VQ16,
    moments: Sequence[Sequence[int]],
    pictures: dict[int, U8],
    config: DreamConfig,
    *,
    seen: int,
    dt_s: float,
    start_ns: int,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
) -> list[Dream]:
    """All moments together. `moments`: stamps of C + G pictures each; `start_ns`: what `at_s` counts from. Same inputs, same frames (on one device)."""
    dtype = next(video.parameters()).dtype
    codes = {s: tokenizer.encode(to_model_input(rgb, device=device, dtype=dtype))[0] for s, rgb in pictures.items()}
    tokens = torch.stack([torch.stack([codes[s] for s in stamps]) for stamps in moments])  # (M, C + G, h, w)
    generator = None if config.top_k == 1 else torch.Generator(device).manual_seed(config.seed)
    expected = generate_frames(
        video, tokens[:, :seen], config.generated, top_k=config.top_k, temperature=config.temperature, generator=generator,
        codebook_size=tokenizer.codebook_size, progress=progress,
    )  # fmt: skip
    return [
        Dream(
            at_s=(stamps[seen - 1] - start_ns) / NS_PER_S,
            dt_s=dt_s,
            seen_rgb=_decoded(tokenizer, tokens[i, :seen]),
            expected_rgb=_decoded(tokenizer, expected[i]),
            true_rgb=np.stack([pictures[s] for s in stamps]),
            seen_tokens=tokens[i, :seen].cpu().numpy(),
            expected_tokens=expected[i].cpu().numpy(),
            true_tokens=tokens[i, seen:].cpu().numpy(),
        )
        for i, stamps in enumerate(moments)
    ]


def _decoded(tokenizer: VQ16, codes: Tensor) -> U8:
    """(n, h, w) → (n, H, W, 3), one by one: at a large size a decoder needs much memory for each."""
    frames = [tokenizer.decode(c[None])[0].float() for c in codes]
    rgb: U8 = (127.5 * torch.stack(frames) + 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return rgb


def agreement(dreams: Sequence[Dream]) -> tuple[F64, F64]:
    """Share of tokens as they came, for each of the G frames, mean over moments: (of the expected frames, of the newest frame seen, were it to stay)."""
    expected = np.stack([(d.expected_tokens == d.true_tokens).mean(axis=(1, 2)) for d in dreams])
    held = np.stack([(d.seen_tokens[-1:] == d.true_tokens).mean(axis=(1, 2)) for d in dreams])
    return expected.mean(axis=0), held.mean(axis=0)
