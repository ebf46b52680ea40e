"""Upstream tokenizer files as native tokenizers: LlamaGen's .pt, and VaVAM's TorchScript pair read as data.

The program inside a TorchScript file is never run here. Its weights are found by the end of their names and by shape, because what the
wrapper around encoder and decoder is called is up to whoever exported it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from vavam_ros.core.artifact.tensor_files import Unfilled, fill, listed
from vavam_ros.core.contracts import ArtifactError
from vavam_ros.core.tokenizer.vq16 import DROPPED_BUFFERS, VQ16, TokenizerSpec, tokenizer_identity
from vavam_ros.core.upstream.foreign_pickle import Archive, LazyTensor, walk_module

Progress = Callable[[Sequence[str]], Iterable[str]]

_TOP = ("ema", "model", "state_dict")  # in the order that LlamaGen's own readers prefer
_BODY = r"(?:conv_in|conv_out|norm_out|mid\.\d+\..+|conv_blocks\.\d+\..+)\.?(?:weight|bias)"
_FULL = re.compile(rf"(?:^|\.)((?:encoder|decoder)\.{_BODY}|post_quant_conv\.(?:weight|bias)|quant_conv\.(?:weight|bias)|quantize\.embedding\.weight)$")
_BARE = re.compile(rf"(?:^|\.)({_BODY})$")
_CODEBOOK = "quantize.embedding.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerWeights:
    """Weights under LlamaGen's names, still in their files, and the sizes that their shapes imply."""

    paths: tuple[Path, ...]
    spec: TokenizerSpec
    tensors: Mapping[str, LazyTensor]

    def build(self, device: torch.device | str, progress: Progress = lambda names: names) -> VQ16:
        """The native tokenizer in fp32, with its identity. Raises ArtifactError on values that cannot be used."""
        with Unfilled():
            tokenizer = VQ16(self.spec, device="meta")
        weights: dict[str, Tensor] = {name: self.tensors[name].load().float() for name in progress(list(self.tensors))}
        fill(tokenizer, weights, " + ".join(str(p) for p in self.paths), device)
        tokenizer.tokenizer_id = tokenizer_identity(weights, self.spec)
        return tokenizer


def open_tokenizer(paths: Sequence[Path | str], *, image_hw: tuple[int, int] = (288, 512), groups: int = 32, eps: float = 1e-6) -> TokenizerWeights:
    """Understand one LlamaGen .pt or a TorchScript encoder and decoder. `groups` and `eps` are in no shape: upstream's unless told otherwise.

    Raises ArtifactError or ForeignPickleError.
    """
    files = tuple(Path(p) for p in paths)
    if not files:
        raise ArtifactError("no tokenizer file given: pass LlamaGen's .pt, or the encoder and decoder .jit")
    found: dict[str, LazyTensor] = {}
    for file in files:
        for name, tensor in _named_weights(file).items():
            _merge(found, name, tensor, file)
    found = {n: t for n, t in found.items() if n not in DROPPED_BUFFERS}
    spec = infer_spec({n: t.shape for n, t in found.items()}, image_hw=image_hw, groups=groups, eps=eps, source=listed([str(f) for f in files]))
    with Unfilled():
        expected = VQ16(spec, device="meta").state_dict()
    missing, unexpected = expected.keys() - found.keys(), found.keys() - expected.keys()
    if missing or unexpected:
        raise ArtifactError(
            f"{listed([str(f) for f in files])}: {len(missing)} tensors missing ({listed(missing)}), {len(unexpected)} unexpected ({listed(unexpected)})"
        )
    return TokenizerWeights(paths=files, spec=spec, tensors={n: found[n] for n in expected})


def names_in(file: Path | str) -> tuple[str, ...]:
    """LlamaGen's names of the tensors that one file holds. Raises ArtifactError or ForeignPickleError."""
    return tuple(_named_weights(Path(file)))


def _merge(found: dict[str, LazyTensor], name: str, tensor: LazyTensor, file: Path) -> None:
    """Add a tensor; one that both files hold must be the same (a codebook may be stored normalised in one of them)."""
    first = found.setdefault(name, tensor)
    if first is tensor or first.same_place(tensor):
        return
    same_shape = first.shape == tensor.shape
    if same_shape and name == _CODEBOOK:
        a, b = (F.normalize(t.load().float(), dim=1) for t in (first, tensor))
        if torch.allclose(a, b, atol=1e-6):
            return
    elif same_shape and torch.equal(first.load(), tensor.load()):
        return
    raise ArtifactError(f"{file}: {name} differs from the one in {first.storage.archive.path}: encoder and decoder of different tokenizers")


def _named_weights(file: Path) -> dict[str, LazyTensor]:
    archive = Archive(file)
    content = archive.load()
    if archive.is_torchscript:
        tensors = dict(walk_module(content))
        if not tensors:
            raise ArtifactError(f"{file}: this TorchScript file has no named weights (frozen on export?): use the file from before freezing, or LlamaGen's .pt")
        return match_names(tensors, str(file))
    state = next((content[k] for k in _TOP if isinstance(content, Mapping) and isinstance(content.get(k), Mapping)), content)
    if not isinstance(state, Mapping) or not all(isinstance(t, LazyTensor) for t in state.values()):
        raise ArtifactError(f"{file}: no weights under {', '.join(_TOP)}, nor at the top level: not a LlamaGen tokenizer")
    return {str(n): t for n, t in state.items()}


def match_names(tensors: Mapping[str, LazyTensor], source: str) -> dict[str, LazyTensor]:
    """LlamaGen's names for the tensors of a wrapped encoder or decoder.

    By the end of the name; where the wrapper hides `encoder.` or `decoder.`, by what the file holds; what is then still missing of the small
    tensors around the codebook, by a shape that occurs once. Raises ArtifactError where two tensors claim one name.
    """
    out: dict[str, LazyTensor] = {}
    rest: dict[str, LazyTensor] = {}
    for name, tensor in tensors.items():
        match = _FULL.search(name)
        if match:
            _claim(out, match[1], tensor, name, source)
        else:
            rest[name] = tensor
    bare = {m[1]: (n, t) for n, t in rest.items() if (m := _BARE.search(n))}
    conv_in = bare.get("conv_in.weight")
    if conv_in is not None:
        role = "encoder" if conv_in[1].shape[1:2] == (3,) else "decoder"
        for name in [n for n in rest if _BARE.search(n)]:
            match = _BARE.search(name)
            assert match is not None
            _claim(out, f"{role}.{match[1]}", rest.pop(name), name, source)
    _by_shape(out, rest)
    if not out:
        raise ArtifactError(f"{source}: none of its {len(tensors)} tensors is named like a VQ-16 encoder or decoder ({listed(tensors)})")
    return out


def _claim(out: dict[str, LazyTensor], wanted: str, tensor: LazyTensor, name: str, source: str) -> None:
    first = out.setdefault(wanted, tensor)
    if not first.same_place(tensor) and (first.shape != tensor.shape or not torch.equal(first.load(), tensor.load())):
        raise ArtifactError(f"{source}: two different tensors could be {wanted}, one of them {name}: the file holds more than one tokenizer")


def _by_shape(out: dict[str, LazyTensor], rest: Mapping[str, LazyTensor]) -> None:
    """Codebook and the 1×1 convolutions around it, if exactly one tensor left over has the shape."""

    def single(test: Callable[[tuple[int, ...]], bool]) -> LazyTensor | None:
        fitting = [t for t in rest.values() if test(t.shape)]
        return fitting[0] if len(fitting) == 1 else None

    def take(name: str, test: Callable[[tuple[int, ...]], bool]) -> None:
        if name not in out and (tensor := single(test)) is not None:
            out[name] = tensor

    take(_CODEBOOK, lambda s: len(s) == 2 and s[0] > s[1])
    for conv, network, end in (("quant_conv", "encoder", "conv_out"), ("post_quant_conv", "decoder", "conv_in")):
        body = out.get(f"{network}.{end}.weight")
        if body is None or _CODEBOOK not in out:
            continue
        code = out[_CODEBOOK].shape[1]
        latent = body.shape[0] if network == "encoder" else body.shape[1]
        c_out, c_in = (code, latent) if network == "encoder" else (latent, code)
        take(f"{conv}.weight", lambda s, want=(c_out, c_in, 1, 1): s == want)  # type: ignore[misc]
        take(f"{conv}.bias", lambda s, want=(c_out,): s == want)  # type: ignore[misc]


def infer_spec(shapes: Mapping[str, tuple[int, ...]], *, image_hw: tuple[int, int], groups: int, eps: float, source: str) -> TokenizerSpec:
    """Sizes from the shapes of LlamaGen-named tensors. Raises ArtifactError if a part is missing."""

    def size(name: str, axis: int) -> int:
        if name not in shapes:
            raise ArtifactError(f"{source}: {name} is missing; a tokenizer needs encoder and decoder (VaVAM's are two .jit files: give both)")
        return shapes[name][axis]

    def levels(network: str) -> list[int]:
        numbers = {int(m[1]) for n in shapes if (m := re.match(rf"{network}\.conv_blocks\.(\d+)\.", n))}
        return [size(f"{network}.conv_blocks.{i}.res.0.conv1.weight", 0) for i in range(len(numbers))]

    channels = size("encoder.conv_in.weight", 0)
    encoder, decoder = levels("encoder"), levels("decoder")
    if any(width % channels for width in (*encoder, *decoder)):
        raise ArtifactError(f"{source}: widths {encoder} and {decoder} are not multiples of {channels}: not a VQ-16 network")
    return TokenizerSpec(
        channels=channels,
        encoder_multipliers=tuple(w // channels for w in encoder),
        decoder_multipliers=tuple(w // channels for w in reversed(decoder)),
        res_blocks=len({m[1] for n in shapes if (m := re.match(r"encoder\.conv_blocks\.0\.res\.(\d+)\.", n))}),
        latent=size("encoder.conv_out.weight", 0),
        codebook_size=size(_CODEBOOK, 0),
        code_dim=size(_CODEBOOK, 1),
        groups=groups,
        eps=eps,
        image_hw=image_hw,
    )
