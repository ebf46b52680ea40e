"""The stand-ins of message_filters, cv_bridge and tf2_ros against what the real packages did (test/golden/ros).

Renew the vectors with `make test-real-ros … RECORD=1`: they come from the real packages' sources, never from the stand-ins.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "test" / "golden" / "ros"
STANDINS = ROOT / "pip_ros" / "standins"
NAMES = ("message_filters", "cv_bridge", "tf2_ros")

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")


@pytest.fixture(scope="module", autouse=True)
def standins() -> Iterator[None]:
    """The stand-ins importable: installed, or from the source tree; skipped where the real packages are."""
    present = {name: importlib.util.find_spec(name) for name in NAMES}
    if all(present.values()):
        if importlib.util.find_spec("vavam_ros_standins") is None:
            pytest.skip("the real packages are installed: nothing stands in for them")
        yield
        return
    sys.path.insert(0, str(STANDINS))
    yield
    sys.path.remove(str(STANDINS))


@pytest.fixture(scope="module")
def scenarios() -> ModuleType:
    """test/golden/ros/scenarios.py"""
    spec = importlib.util.spec_from_file_location("ros_scenarios", GOLDEN / "scenarios.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _cases(name: str) -> dict[str, dict[str, Any]]:
    cases: dict[str, dict[str, Any]] = json.loads((GOLDEN / name).read_text())["cases"]
    return cases


SYNCHRONIZERS = _cases("synchronizers.json")
TRANSFORMS = _cases("transforms.json")
with np.load(GOLDEN / "images.npz") as stored:
    PIXELS = dict(stored)
IMAGES: dict[str, dict[str, Any]] = json.loads(str(PIXELS.pop("index")))["cases"]


@pytest.mark.parametrize("name", SYNCHRONIZERS)
def test_synchronizer_does_what_the_real_one_did(name: str, scenarios: ModuleType) -> None:
    import message_filters

    case = SYNCHRONIZERS[name]
    assert scenarios.run_synchronizer(message_filters, case) == case["outcome"]


def test_vectors_cover_the_scenarios(scenarios: ModuleType) -> None:
    import cv2

    assert set(SYNCHRONIZERS) == set(scenarios.synchronizer_scenarios())
    assert set(TRANSFORMS) == set(scenarios.transform_scenarios())
    assert set(IMAGES) == set(scenarios.image_cases(cv2))
    assert sum(bool(c["outcome"]) for c in SYNCHRONIZERS.values()) > 45, "most scenarios let something through"


@pytest.mark.parametrize("name", IMAGES)
def test_bridge_gives_the_real_ones_pixels(name: str, scenarios: ModuleType) -> None:
    import cv2
    import cv_bridge

    case = IMAGES[name]
    given = {key: PIXELS[value["array"]] if isinstance(value, dict) else value for key, value in case["given"].items()}
    got, expected = scenarios.run_image(cv_bridge, cv2, case["call"], given), dict(case["outcome"])
    if "array" in expected:
        expected_pixels, pixels = PIXELS[expected.pop("array")["array"]], got.pop("array")
        assert pixels.shape == expected_pixels.shape
        assert pixels.dtype == expected_pixels.dtype
        # A JPEG decoder may round differently from version to version; nothing else may.
        tolerance = 2 if name.startswith("jpeg") else 0
        assert np.abs(pixels.astype(np.int64) - expected_pixels.astype(np.int64)).max() <= tolerance
    assert got == expected


@pytest.mark.parametrize("name", TRANSFORMS)
def test_buffer_answers_as_the_real_one_did(name: str, scenarios: ModuleType) -> None:
    import tf2_ros

    case = TRANSFORMS[name]
    buffer = tf2_ros.Buffer()
    outcome = scenarios.run_transforms(buffer, buffer.lookup_transform, tf2_ros.TransformException, case)
    questions = [step[1:] for step in case["steps"] if step[0] == "look"]
    assert len(outcome) == len(case["outcome"]) == len(questions)
    for question, got, expected in zip(questions, outcome, case["outcome"], strict=True):
        if isinstance(expected, str) or isinstance(got, str):
            assert got == expected, question
            continue
        assert got[0] == expected[0], question
        np.testing.assert_allclose(got[1], expected[1], atol=1e-9, err_msg=str(question))
        sign = np.sign(np.dot(got[2], expected[2]))  # q and −q are one rotation
        np.testing.assert_allclose(sign * np.array(got[2]), expected[2], atol=1e-9, err_msg=str(question))


def test_synchronizer_survives_a_callback_that_raises() -> None:
    import message_filters
    from rclpy.time import Time

    filters = [message_filters.SimpleFilter(), message_filters.SimpleFilter()]
    synchronizer = message_filters.TimeSynchronizer(filters, 5)
    seen: list[int] = []

    def callback(first: Any, _second: Any) -> None:
        seen.append(first.header.stamp.sec)
        if len(seen) == 1:
            raise ValueError("once")

    synchronizer.registerCallback(callback)
    messages = [SimpleNamespace(header=SimpleNamespace(stamp=Time(seconds=s).to_msg())) for s in (1, 2)]
    filters[0].signalMessage(messages[0])
    with pytest.raises(ValueError, match="once"):
        filters[1].signalMessage(messages[0])
    for source in filters:
        source.signalMessage(messages[1])
    assert seen == [1, 1, 2], "the set of the failed callback is offered again, and the next message is not blocked"


def test_subscriber_passes_its_arguments_to_the_node() -> None:
    import message_filters

    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    class FakeNode:
        def create_subscription(self, *args: Any, **kwargs: Any) -> SimpleNamespace:
            calls.append((args, kwargs))
            return SimpleNamespace(topic_name="/resolved")

    group, events = object(), object()
    subscriber = message_filters.Subscriber(FakeNode(), str, "a", qos_profile=3, callback_group=group, event_callbacks=events)
    message_filters.Subscriber(FakeNode(), str, "b")
    assert calls[0][0][:2] == (str, "a")
    assert calls[0][1] == {"qos_profile": 3, "callback_group": group, "event_callbacks": events}
    assert calls[1][1] == {"qos_profile": 10}
    got: list[Any] = []
    subscriber.registerCallback(lambda *values: got.append(values), "extra")
    calls[0][0][2]("message")
    assert got == [("message", "extra")]
    assert (subscriber.getTopic(), subscriber.topic_name) == ("a", "/resolved")


def test_padded_rows_and_wrong_headers_of_images() -> None:
    """Where the real bridge shears or narrows a picture (a step that is no whole number of pixels, or too small)."""
    import cv_bridge
    from sensor_msgs.msg import Image

    rows = np.arange(2 * 10, dtype=np.uint8).reshape(2, 10)
    message = Image(encoding="rgb8", width=3, height=2, step=10, data=rows.tobytes())
    pixels = cv_bridge.CvBridge().imgmsg_to_cv2(message)
    np.testing.assert_array_equal(pixels, rows[:, :9].reshape(2, 3, 3))
    message.step = 8
    with pytest.raises(TypeError, match="step"):
        cv_bridge.CvBridge().imgmsg_to_cv2(message)


@pytest.mark.parametrize("name", NAMES)
def test_refuses_to_stand_beside_the_real_package(name: str, tmp_path: Path) -> None:
    from vavam_ros_standins import real_installation

    own = str(STANDINS / name / "__init__.py")
    elsewhere, ament, marked = tmp_path / "site", tmp_path / "ament", tmp_path / "marked"
    (elsewhere / name).mkdir(parents=True)
    empty: dict[str, Any] = {"search_path": [str(STANDINS), str(elsewhere), ""], "prefixes": ["", str(ament)]}
    assert real_installation(name, own, **empty) is None, "a bare folder is not an installation"
    (elsewhere / name / "__init__.py").touch()
    assert real_installation(name, own, **empty) == elsewhere / name
    in_prefix = ament / "lib" / "python3.12" / "site-packages" / name
    in_prefix.mkdir(parents=True)
    (in_prefix / "__init__.py").touch()
    assert real_installation(name, own, search_path=[str(STANDINS)], prefixes=[str(ament)]) == in_prefix
    index = marked / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    (index / ("tf2_ros_py" if name == "tf2_ros" else name)).touch()
    assert real_installation(name, own, search_path=[], prefixes=[str(marked)]) is not None


def test_import_fails_beside_a_real_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "message_filters").mkdir()
    (tmp_path / "message_filters" / "__init__.py").write_text("real = True\n")
    monkeypatch.setattr(sys, "path", [str(STANDINS), str(tmp_path), *sys.path])
    for module in [m for m in sys.modules if m.split(".")[0] == "message_filters"]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(ImportError, match=r"the real package is at .*message_filters"):
        importlib.import_module("message_filters")
