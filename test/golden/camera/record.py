"""Record what torchvision's antialiased resize makes of fixed pictures: the reference of `resize_like_upstream`.

    python -m venv VENV && VENV/bin/pip install torch==2.14.1 torchvision==0.29.1
    VENV/bin/python test/golden/camera/record.py test/golden/camera/resize.npz

The pictures come from a seed (PCG64, integers only), so only a sample of each output is stored: a crop at full resolution and every 5th pixel.
Upstream: VideoActionModel vam/datalib/transforms.py, ResizeByFactor, v2.functional.resize(img, (int(h / f), int(w / f)), antialias=True) on uint8 CHW.
"""

from __future__ import annotations

import sys

import numpy as np

CASES = {  # name: (source height and width, output height and width)
    "nuscenes": ((900, 1600), (int(900 / 3.125), int(1600 / 3.125))),
    "nuplan": ((1080, 1920), (int(1080 / 3.75), int(1920 / 3.75))),
    "vga": ((480, 640), (288, 512)),
    "eon": ((874, 1164), (288, 512)),
    "neuroncap_1599": ((900, 1599), (288, 512)),
    "small_model": ((900, 1600), (144, 256)),
    "enlarged": ((120, 160), (288, 512)),
}
CROP = (slice(100, 140), slice(60, 124))


def picture(hw: tuple[int, int], seed: int) -> np.ndarray:
    """(h, w, 3) uint8: a gradient, noise on its left half and a one-pixel checkerboard in a corner, by integer arithmetic alone."""
    h, w = hw
    rows, columns = np.arange(h)[:, None, None], np.arange(w)[None, :, None]
    gradient = (rows * 255 // h + columns * 255 // w * np.array([1, 2, 3])) % 256
    noise = np.random.Generator(np.random.PCG64(seed)).integers(0, 256, (h, w, 3))
    out = np.where(columns < w // 2, noise, gradient)
    out[h // 2 :, w * 3 // 4 :] = (255 * ((rows + columns) % 2))[h // 2 :, w * 3 // 4 :]
    return out.astype(np.uint8)


def main(path: str) -> None:
    """Write the samples of every case."""
    import torch
    import torchvision
    from torchvision.transforms.v2 import functional

    arrays: dict[str, np.ndarray] = {"versions": np.array([torch.__version__, torchvision.__version__, torch.backends.cpu.get_cpu_capability()])}
    for seed, (name, (source_hw, out_hw)) in enumerate(CASES.items()):
        chw = torch.from_numpy(picture(source_hw, seed)).permute(2, 0, 1).contiguous()
        out = functional.resize(chw, list(out_hw), antialias=True).permute(1, 2, 0).numpy()
        arrays[f"{name}.crop"], arrays[f"{name}.strided"] = out[CROP], out[::5, ::5]
    np.savez_compressed(path, **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
