"""No test of the core lets it make a tensor without saying where: what the caller's default device is must not matter. And what several test files share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

import vavam_ros.core
from vavam_ros.core.artifact import LoadedArtifact, load_artifact, random_artifact
from vavam_ros.core.model.network import VaVAM, init_weights

sys.path.insert(0, str(Path(__file__).parent))  # what tests share: gate_drive.py, pipeline_parts.py, small_model.py
pytest.register_assert_rewrite("gate_drive", "pipeline_parts", "small_model")

import pipeline_parts  # noqa: E402
import small_model  # noqa: E402

CORE = str(Path(vavam_ros.core.__file__).parent)
FACTORIES = {
    torch.arange, torch.empty, torch.empty_strided, torch.eye, torch.full, torch.linspace, torch.logspace, torch.ones, torch.rand, torch.randint, torch.randn,
    torch.randperm, torch.tensor, torch.tril_indices, torch.triu_indices, torch.zeros,
}  # fmt: skip


class DeviceIsSaid(TorchFunctionMode):
    """Fails a call of the core that leaves the device of a new tensor open. Tests themselves may."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func in FACTORIES and "device" not in (kwargs or {}):
            caller = sys._getframe(1)
            assert not caller.f_code.co_filename.startswith(CORE), f"{caller.f_code.co_filename}:{caller.f_lineno}: {func.__name__} without a device"
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def device_is_said() -> Iterator[None]:
    with DeviceIsSaid():
        yield


class Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """In place of a CUDA graph, which a CPU has not: the operations of one run, played again on the tensors they touched, as a graph does on addresses."""

    made = 0

    def __init__(self, body: Callable[..., Tensor | None], inputs: Sequence[Tensor], device: torch.device, pool: object) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        Tape.made += 1
        self._inputs, self._calls = [x.clone() for x in inputs], list[Any]()
        with self:
            self._output = body(*self._inputs)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self._calls.append((func, args, kwargs or {}, out))
        return out

    def __call__(self, *inputs: Tensor) -> Tensor | None:
        now = dict(zip(map(id, self._inputs), inputs, strict=True))  # id of a tensor of the recorded run → its present counterpart, if it has one
        for func, args, kwargs, recorded in self._calls:
            args, kwargs = tree_map_only(Tensor, lambda t: now.get(id(t), t), (args, kwargs))
            for old, new in zip(tree_leaves(recorded), tree_leaves(func(*args, **kwargs)), strict=True):
                now[id(old)] = new
        return None if self._output is None else now[id(self._output)]


@pytest.fixture
def graph_stand_in() -> type[Tape]:
    """In place of `cuda_graph.Recording`."""
    Tape.made = 0
    return Tape


@pytest.fixture
def nothing_without_a_device() -> Iterator[None]:
    """What is made on the default device is without data."""
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> LoadedArtifact:
    """A model directory with random weights, loaded: for pipeline_parts.py."""
    directory: Path = tmp_path_factory.mktemp("pipeline") / "tiny"
    random_artifact(directory, pipeline_parts.TINY, seed=1)
    return load_artifact(directory, pipeline_parts.CPU)


@pytest.fixture(scope="module")
def model() -> VaVAM:
    """With small_model.py's sizes, and weights that let every part matter."""
    m = VaVAM(small_model.SPEC, device="cpu")
    init_weights(m, torch.Generator().manual_seed(0), video_std=0.4, action_std=0.4, zero_query=False, readout_std=0.4)
    return m


@pytest.fixture(scope="module")
def tokens() -> Tensor:
    """Two clips of five frames for `model`."""
    return torch.randint(small_model.SPEC.video.vocabulary, (2, 5, 2, 3), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def noise() -> Tensor:
    """For K samples of `model`."""
    return torch.randn(small_model.K, small_model.H, 2, generator=torch.Generator().manual_seed(2))
