"""What a plan costs, counted from the specification, and how long a device takes at the least: operations over its matrix rate, bytes over its bandwidth.

A floor is no forecast of a kernel's time. It says what no implementation can beat, and in which of the two a device is short. Devices that were not at hand
have the makers' figures, of which `MATRIX_SHARE` and `BANDWIDTH_SHARE` are taken to be reached (large products and copies on an H200 reach about those).

Shape letters: N = T·S video tokens · K samples · H waypoints · L layers · d, e widths of video and expert.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vavam_ros.core.model.streaming import StreamSchedule, append_flops
from vavam_ros.core.spec import ModelSpec

MATRIX_SHARE, BANDWIDTH_SHARE = 0.80, 0.90
TOKENIZER_TFLOP = 0.313  # the released encoder, one frame of 288 × 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """`matrix_tflops` without sparsity, sums in fp32; `bandwidth_gbps` of its memory. Both as reached; `element_bytes` of weights, keys and values."""

    name: str
    matrix_tflops: float
    bandwidth_gbps: float
    memory_gb: float
    element_bytes: int = 2
    source: str = ""

    @classmethod
    def of_data_sheet(cls, name: str, matrix_tflops: float, bandwidth_gbps: float, memory_gb: float, source: str) -> Device:
        """The makers' figures, cut to what is usually reached."""
        return cls(
            name=name, matrix_tflops=matrix_tflops * MATRIX_SHARE, bandwidth_gbps=bandwidth_gbps * BANDWIDTH_SHARE, memory_gb=memory_gb, source=source
        )


DEVICES = (
    Device.of_data_sheet("H200", 989.0, 4800.0, 141.0, "data sheet: 989 TFLOP/s bf16, 4.8 TB/s"),
    Device.of_data_sheet("RTX 4090", 165.2, 1008.0, 24.0, "data sheet: 165.2 TFLOP/s bf16 with sums in fp32, 1,008 GB/s"),
    Device.of_data_sheet("RTX 3090", 71.0, 936.0, 24.0, "data sheet: 71 TFLOP/s bf16 with sums in fp32, 936 GB/s"),
    Device.of_data_sheet(
        "AGX Orin 64 GB", 42.5, 204.8, 64.0, "technical brief: GPU 170 int8 TOPS with sparsity, hence 42.5 TFLOP/s in half precision without; 204.8 GB/s"
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Floating-point operations (a multiply-add is two) and bytes that have to be read."""

    flops: float
    read_bytes: float

    def floor_s(self, device: Device) -> float:
        """Whichever takes longer."""
        return max(self.flops / (device.matrix_tflops * 1e12), self.read_bytes / (device.bandwidth_gbps * 1e9))


def with_frames(spec: ModelSpec, frames: int) -> ModelSpec:
    """The same model on a context of so many frames."""
    return replace(spec, video=replace(spec.video, frames=frames))


def video_elements(spec: ModelSpec) -> float:
    """Weights of the video layers that a context needs: of the last one only those of keys and values."""
    v = spec.video
    return v.width**2 * ((v.layers - 1) * (4 + 2 * v.mlp_ratio) + 2)


def all_video_elements(spec: ModelSpec) -> float:
    """Weights of all video layers, whole."""
    v = spec.video
    return v.layers * (4.0 + 2 * v.mlp_ratio) * v.width**2


def expert_elements(spec: ModelSpec) -> float:
    """Weights of the expert's layers."""
    v, a = spec.video, spec.action
    return v.layers * (4.0 * v.width * a.width + 2 * a.mlp_ratio * a.width**2)


def kv_elements(spec: ModelSpec) -> float:
    """Keys and values of a whole window."""
    v = spec.video
    return 2.0 * v.layers * v.frames * v.tokens_per_frame * v.width


def context(spec: ModelSpec, device: Device) -> Work:
    """The whole window, anew."""
    v = spec.video
    return Work(flops=append_flops(v, 0, v.frames * v.tokens_per_frame), read_bytes=video_elements(spec) * device.element_bytes)


def euler_step(spec: ModelSpec, samples: int, device: Device) -> Work:
    """One step of all samples, which read the same keys and values once."""
    v, rows = spec.video, samples * spec.action.horizon
    attention = 4.0 * rows * (v.frames * v.tokens_per_frame + spec.action.horizon) * v.width * v.layers
    return Work(flops=2.0 * rows * expert_elements(spec) + attention, read_bytes=(expert_elements(spec) + kv_elements(spec)) * device.element_bytes)


def plan_floor_s(spec: ModelSpec, samples: int, device: Device) -> float:
    """Context and all Euler steps."""
    return context(spec, device).floor_s(device) + spec.flow.steps * euler_step(spec, samples, device).floor_s(device)


def streaming_tick_floor_s(spec: ModelSpec, samples: int, device: Device) -> float:
    """The most expensive tick of `context: streaming`: a frame appended, a chunk of the next window, all Euler steps."""
    schedule = StreamSchedule(spec.video)
    schedule.begin(spec.video.frames)
    most = max(schedule.tick().flops(spec.video) for _ in range(2 * spec.video.frames))
    tick = Work(flops=most, read_bytes=2 * video_elements(spec) * device.element_bytes)
    return tick.floor_s(device) + spec.flow.steps * euler_step(spec, samples, device).floor_s(device)


def tokenizer_floor_s(device: Device) -> float:
    """One frame through the released encoder."""
    return TOKENIZER_TFLOP / device.matrix_tflops


def generated_frame_floor_s(spec: ModelSpec, device: Device) -> float:
    """VaViM's next frame, token by token: all weights and the keys and values so far, once for each token."""
    return spec.video.tokens_per_frame * (all_video_elements(spec) + kv_elements(spec)) * device.element_bytes / (device.bandwidth_gbps * 1e9)


def memory_gb(spec: ModelSpec, samples: int, device: Device, *, streaming: bool = False) -> float:
    """Weights (with embeddings), and the buffers of keys and values: one, or two when streaming. Without what the libraries take."""
    v = spec.video
    whole = all_video_elements(spec) + (v.vocabulary + v.tokens_per_frame + v.frames) * v.width + expert_elements(spec)
    own = 2.0 * v.layers * samples * spec.action.horizon * v.width
    return (whole + (2 if streaming else 1) * (kv_elements(spec) + own)) * device.element_bytes / 1e9
