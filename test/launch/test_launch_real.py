"""The launch files under the real launch and launch_ros, and their equality with `vavam launch`. Run by `make test-real-ros`.

Executables that write down how they were started stand in for the nodes: what is compared is what a process really gets.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("launch_ros", reason="needs the real launch and launch_ros: make test-real-ros LAUNCH_SRC=… LAUNCH_ROS_SRC=…")

from vavam_ros.bringup import SYSTEMS
from vavam_ros.bringup_data import System
from vavam_ros.cli.launch import command_of

pytestmark = pytest.mark.real_ros

ROOT = Path(__file__).resolve().parents[2]
VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
EXECUTABLES = ("tokenizer_node", "planner_node", "vavam_node", "bag_player_node")
DRIVER = """
import sys
from launch import LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
service = LaunchService(noninteractive=True)  # else it takes SIGINT for one of a terminal, which the children have had too
arguments = [tuple(text.split(":=", 1)) for text in sys.argv[2:]]
service.include_launch_description(IncludeLaunchDescription(PythonLaunchDescriptionSource(sys.argv[1]), launch_arguments=arguments))
sys.exit(service.run())
"""
PROBE = """#!{python} -S
import json, os, signal, sys, time
signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
files = [open(sys.argv[i + 1]).read() for i, word in enumerate(sys.argv) if word == "--params-file"]
record = dict(argv=sys.argv, files=files, environment={{name: os.environ.get(name) for name in {variables!r}}})
temporary = os.path.join({folder!r}, str(os.getpid()))
open(temporary, "w").write(json.dumps(record))
os.rename(temporary, temporary + ".json")
until = time.monotonic() + 30.0
if {end!r} in sys.argv[0]:  # once the other one listens to signals
    while len([name for name in os.listdir({folder!r}) if name.endswith(".json")]) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    sys.exit(0)
while True:
    time.sleep(1.0)
"""


def prefix(folder: Path, end: str = "nothing") -> Path:
    """An ament prefix whose vavam_ros executables write down how they were started; the one named `end` ends by itself."""
    records = folder / "records"
    records.mkdir(parents=True)
    index = folder / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    (index / "vavam_ros").touch()
    (folder / "lib" / "vavam_ros").mkdir(parents=True)
    for name in EXECUTABLES:
        path = folder / "lib" / "vavam_ros" / name
        path.write_text(PROBE.format(python=sys.executable, variables=VARIABLES, folder=str(records), end=end))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return folder


def start(folder: Path, launch_file: Path, arguments: list[str]) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment |= {"AMENT_PREFIX_PATH": str(folder), "ROS_LOG_DIR": str(folder / "log")}
    command = [sys.executable, "-c", DRIVER, str(launch_file), *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder)


def records_of(folder: Path, running: subprocess.Popen[str], count: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline and running.poll() is None and len(list((folder / "records").glob("*.json"))) < count:
        time.sleep(0.05)
    return [json.loads(path.read_text()) for path in (folder / "records").glob("*.json")]


def canonical(argv: list[str], files: list[str], environment: dict[str, str | None]) -> dict[str, Any]:
    """What a command line means: node, namespace, level, remappings, parameters of each selector in the order of their files."""
    words = argv[argv.index("--ros-args") + 1 :]
    rules = [words[i + 1].split(":=", 1) for i, word in enumerate(words) if word == "-r"]
    parameters: dict[str, Any] = {}
    for text in files:
        for node, section in (yaml.safe_load(text) or {}).items():
            parameters.setdefault(node, {}).update(section["ros__parameters"])
    return {
        "node": dict(rules).get("__node"),
        "namespace": dict(rules).get("__ns"),
        "level": words[words.index("--log-level") + 1],
        "remappings": sorted((a, b) for a, b in rules if not a.startswith("__")),
        "parameters": parameters,
        "files": [words[i + 1] for i, word in enumerate(words) if word == "--params-file"][:-1],
        "environment": environment,
    }


def bare(system: System, folder: Path) -> dict[str, dict[str, Any]]:
    """The same of `vavam launch`."""
    folder.mkdir()
    environment = {name: system.environment_beside({}).get(name) for name in VARIABLES}
    result = {}
    for process in system.processes:
        command = command_of(process, folder)
        files = [Path(command[i + 1]).read_text() for i, word in enumerate(command) if word == "--params-file"]
        result[process.executable] = canonical(command, files, environment)
    return result


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model of 1e3"
    folder.mkdir()
    (folder / "model.yaml").write_text("domain: real\ntrained: true\n")
    return folder


CASES = {
    "vavam": [],
    "vavam composed": ["composed:=true", "device:=cpu", "num_samples:=4", "fastdds_profile:="],
    "vavam another namespace": ["namespace:=second", "config:=cpu", "camera_mode:=resize", "log_level:=debug"],
    "vehicle": [],
    "vehicle autoware": ["interface:=autoware", "rear_axle_x_m:=0.0", "autostart:=false"],
    "vehicle nav2": ["interface:=nav2", "odometry_topic:=/odometry/filtered"],
    "rosbag": ["bag:=/tmp/some bag", "rate:=2.0", "lockstep:=true"],
    "carla": ["role_name:=hero", "plan_rate_hz:=4"],
}


@pytest.mark.parametrize("case", CASES)
def test_launch_file_starts_what_vavam_launch_starts(case: str, model: Path, tmp_path: Path) -> None:
    name = case.split()[0]
    given = [f"model:={model}", *CASES[case]]
    system = SYSTEMS[name].build(dict(text.split(":=", 1) for text in given))
    folder = prefix(tmp_path / "prefix")
    running = start(folder, ROOT / "launch" / f"{name}.launch.py", given)
    try:
        records = records_of(folder, running, len(system.processes))
    finally:
        running.send_signal(signal.SIGINT)
        output, _ = running.communicate(timeout=60)
    assert len(records) == len(system.processes), output
    launched = {Path(r["argv"][0]).name: canonical(r["argv"], r["files"], r["environment"]) for r in records}
    assert launched == bare(system, tmp_path / "bare"), output
    assert "Traceback" not in output, output


def test_the_end_of_a_required_process_ends_the_launch(model: Path, tmp_path: Path) -> None:
    folder = prefix(tmp_path / "prefix", end="planner_node")
    running = start(folder, ROOT / "launch" / "vavam.launch.py", [f"model:={model}"])
    output, _ = running.communicate(timeout=60)
    assert "process[planner_node-2] was required: shutting down" in output
    assert "tokenizer_node-1]: process has finished" in output


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    folder = prefix(tmp_path / "prefix")
    for launch_file, arguments, words in (
        ("vavam", [], "argument model: got nothing"),
        ("vavam", ["model:=/nowhere", "composed:=maybe"], "maybe"),
        ("vehicle", ["model:=/nowhere"], "expected a model directory"),
    ):
        running = start(folder, ROOT / "launch" / f"{launch_file}.launch.py", arguments)
        output, _ = running.communicate(timeout=60)
        assert running.returncode != 0
        assert words in output


# --- real nodes ---------------------------------------------------------------------------------------------------------------------


def real_prefix(folder: Path) -> Path:
    """An ament prefix whose executables are the nodes of this source tree."""
    prefix(folder)
    for name in EXECUTABLES:
        (folder / "lib" / "vavam_ros" / name).write_text(f'#!/bin/sh\nexec {sys.executable} -m vavam_ros.nodes.{name} "$@"\n')
    return folder


@pytest.mark.parametrize("composed", ["false", "true"])
def test_real_nodes_play_a_bag_under_the_real_launch(composed: str, drive: Path, tmp_path: Path) -> None:
    """launch starts nodes and player; samples come out; the end of the bag ends everything."""
    import rclpy
    from vavam_ros.msg import TrajectorySamples

    arguments = [
        f"model:={drive / 'model'}",
        f"bag:={drive / 'drive.mcap'}",
        "config:=rosbag,cpu",
        "camera_mode:=resize",
        "lockstep:=true",
        f"composed:={composed}",
    ]
    received: list[Any] = []
    rclpy.init()
    try:
        node = rclpy.create_node("listener")
        node.create_subscription(TrajectorySamples, "/vavam/samples", received.append, 50)
        running = start(real_prefix(tmp_path / "prefix"), ROOT / "launch" / "rosbag.launch.py", arguments)
        deadline = time.monotonic() + 150.0
        output = tmp_path / "output"
        with output.open("w") as file:
            reader = threading.Thread(target=lambda: file.write(running.stdout.read() if running.stdout else ""))
            reader.start()
            while running.poll() is None and time.monotonic() < deadline:
                rclpy.spin_once(node, timeout_sec=0.1)
            if running.poll() is None:
                running.send_signal(signal.SIGINT)
            reader.join(timeout=30)
            assert running.stdout is not None
            running.stdout.close()
        node.destroy_node()
    finally:
        rclpy.try_shutdown()
    text = output.read_text()
    assert running.returncode == 0, text
    assert "process[bag_player_node-" in text, text
    assert "process has died" not in text, text
    assert len(received) >= 6, text
    assert all(len(message.xy) > 0 for message in received)
