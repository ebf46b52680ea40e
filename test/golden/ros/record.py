#!/usr/bin/env python3
"""Put the scenarios to an implementation of message_filters, cv_bridge or tf2 and write its answers down.

    record.py synchronizers --path message_filters/src --out synchronizers.json
    record.py images --path BUILT_CV_BRIDGE --path OPENCV_4 --out images.npz
    record.py transforms --path BUILT_TF2_PY --out transforms.json

The folders given with --path go to the front of the module search path. `test/real_ros/run.py` builds the C++ parts of the real
packages in a throwaway folder and calls this; with --path pip_ros/standins it records the stand-ins, for a comparison.
rclpy and the common messages have to be importable.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("synchronizers", "images", "transforms"))
    parser.add_argument("--path", action="append", default=[], type=Path, help="a folder that holds the implementation's Python package; repeatable")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--source", default="", help="what was recorded, in words (package, branch, commit)")
    args = parser.parse_args()
    for folder in reversed(args.path):
        sys.path.insert(0, str(folder.resolve()))
    sys.path.append(str(Path(__file__).resolve().parent))
    {"synchronizers": record_synchronizers, "images": record_images, "transforms": record_transforms}[args.what](args.out, args.source)
    return 0


def record_synchronizers(out: Path, source: str) -> None:
    """JSON: name → scenario with its outcome."""
    import message_filters
    import scenarios

    cases = scenarios.synchronizer_scenarios()
    _write_json(out, source, {name: case | {"outcome": scenarios.run_synchronizer(message_filters, case)} for name, case in cases.items()})


def record_transforms(out: Path, source: str) -> None:
    """JSON: name → scenario with its outcome. The real buffer is tf2_py's; its Python wrapper adds only waiting."""
    import scenarios

    try:
        import tf2_py

        def new() -> tuple[Any, Any]:
            buffer = tf2_py.BufferCore()
            return buffer, buffer.lookup_transform_core

        base = tf2_py.TransformException
    except ImportError:
        import tf2_ros

        def new() -> tuple[Any, Any]:
            buffer = tf2_ros.Buffer()
            return buffer, buffer.lookup_transform

        base = tf2_ros.TransformException
    cases = scenarios.transform_scenarios()
    _write_json(out, source, {name: case | {"outcome": scenarios.run_transforms(*new(), base, case)} for name, case in cases.items()})


def record_images(out: Path, source: str) -> None:
    """npz: "index" is a JSON text, name → call, arguments and outcome, in which an array stands as its key."""
    import cv2
    import cv_bridge
    import scenarios

    arrays: dict[str, np.ndarray[Any, Any]] = {}

    def stored(values: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in values.items():
            if isinstance(value, np.ndarray):
                same = next((k for k, a in arrays.items() if a.dtype == value.dtype and np.array_equal(a, value)), None)
                name = same or f"a{len(arrays)}"
                arrays[name] = np.ascontiguousarray(value)
                value = {"array": name}
            result[key] = value
        return result

    index = {
        name: {"call": call, "given": stored(given), "outcome": stored(scenarios.run_image(cv_bridge, cv2, call, given))}
        for name, (call, given) in scenarios.image_cases(cv2).items()
    }
    text = json.dumps({"source": source, "opencv": cv2.__version__, "cases": index})
    np.savez_compressed(out, index=np.array(text), **arrays)  # type: ignore[arg-type]  # numpy's stub takes the keywords for allow_pickle


def _write_json(out: Path, source: str, cases: dict[str, Any]) -> None:
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(case)}" for name, case in cases.items())
    out.write_text(f'{{"source": {json.dumps(source)},\n "cases": {{\n{lines}\n}}}}\n')


if __name__ == "__main__":
    sys.exit(main())
