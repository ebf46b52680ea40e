"""Bring-up data: what it says fits what nodes declare, and `vavam launch` passes on exactly that. (Control: test_bringup_control.py.)"""

from __future__ import annotations

import argparse
import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from system_parts import by_name, remaps

from vavam_ros.bringup import CARLA, ROSBAG, SYSTEMS, VAVAM, VEHICLE, VEHICLE_TOPICS, system_carla, system_rosbag, system_vavam, system_vehicle
from vavam_ros.bringup_data import data_dir, resolve
from vavam_ros.cli.launch import add_arguments, command_of, describe_arguments, parameters_yaml, parse_assignments, run
from vavam_ros.core.contracts import ConfigError, DomainError
from vavam_ros.nodes.parameter_table import ROWS, Row

ROOT = Path(__file__).resolve().parents[2]
DECLARED = {row.name: row for row in ROWS}


# --- the data -----------------------------------------------------------------------------------------------------------------------


def test_tokens_meet_in_every_system(model: str) -> None:
    for declaration, extra in ((VAVAM, {}), (VEHICLE, {}), (ROSBAG, {"bag": "b"}), (CARLA, {})):
        processes = by_name(declaration.build({"model": model, **extra}))
        tokenizer, planner = processes["tokenizer_node"], processes["planner_node"]
        assert remaps(tokenizer)["~/tokens"] == remaps(planner)["~/tokens"] == "tokens"
        assert remaps(tokenizer)["~/odometry"] == remaps(planner)["~/odometry"]
        assert tokenizer.namespace == planner.namespace == "vavam"


def test_composed_is_one_process_with_the_same_meaning(model: str) -> None:
    apart, composed = system_vavam({"model": model}), system_vavam({"model": model, "composed": "true"})
    (both,) = composed.processes
    assert both.executable == "vavam_node"
    assert (both.parameters, both.remappings) == (apart.processes[0].parameters, apart.processes[0].remappings)


def test_carla_topics_are_the_bridges(model: str) -> None:
    system = system_carla({"model": model, "role_name": "hero"})
    assert remaps(system.processes[0]) | {
        "~/image": "/carla/hero/vavam_front/image",
        "~/camera_info": "/carla/hero/vavam_front/camera_info",
        "~/odometry": "/carla/hero/odometry",
        "~/route": "/carla/hero/waypoints",
    } == remaps(system.processes[0])
    assert all(process.parameters["use_sim_time"] is True for process in system.processes)
    assert "camera_info_source" not in system.processes[0].parameters, "the shipped camera file gives the mount only"
    assert Path(str(system.processes[0].parameters["camera_yaml"])).stem == "carla_vavam_front"
    assert "camera_yaml" not in system_carla({"model": model, "camera": "other"}).processes[0].parameters


def test_image_topic_tells_the_transport_and_the_camera_info(model: str) -> None:
    process = system_vavam({"model": model, "image_topic": "/front/image_rect/compressed", "camera_info_topic": ""}).processes[0]
    assert remaps(process)["~/image"] == "/front/image_rect"
    assert remaps(process)["~/image/compressed"] == "/front/image_rect/compressed"
    assert remaps(process)["~/camera_info"] == "/front/camera_info"
    assert process.parameters["image_transport"] == "compressed"
    assert "image_transport" not in system_vavam({"model": model}).processes[0].parameters


def test_arguments_left_empty_change_nothing_and_zero_is_a_value(model: str) -> None:
    parameters = system_vavam({"model": model, "rear_axle_x_m": "0.0", "num_samples": "3"}).processes[0].parameters
    assert parameters["rear_axle_x_m"] == 0.0
    assert isinstance(parameters["rear_axle_x_m"], float)
    assert parameters["num_samples"] == 3
    assert "device" not in parameters


@pytest.mark.parametrize("interface", VEHICLE_TOPICS)
def test_vehicle_presets_hold_where_no_topic_is_given(interface: str, model: str) -> None:
    process = system_vehicle({"model": model, "interface": interface, "odometry_topic": "/mine"}).processes[0]
    assert remaps(process)["~/image"] == VEHICLE_TOPICS[interface]["image"]
    assert remaps(process)["~/odometry"] == "/mine"


@pytest.mark.parametrize(
    ("card", "allow"),
    [
        ("domain: random\ntrained: false\n", "allow_untrained"),
        ("domain: real\ntrained: false\n", "allow_untrained"),
        ("domain: synthetic_world\ntrained: true\n", "allow_synthetic"),
    ],
)
def test_vehicle_refuses_what_was_not_made_for_it(card: str, allow: str, tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text(card)
    given = {"model": str(tmp_path)}
    with pytest.raises(DomainError, match=f"{allow}:=true"):
        system_vehicle(given)
    parameters = system_vehicle({**given, allow: "true"}).processes[0].parameters
    assert parameters[allow] is True
    assert system_vavam(given).processes, "elsewhere it may run"
    system_carla(given)


def test_the_nodes_of_a_vehicle_refuse_too(model: str) -> None:
    for process in system_vehicle({"model": model}).processes:
        assert process.parameters["allow_untrained"] is False
        assert process.parameters["allow_synthetic"] is False


def test_keys_of_the_card_are_those_of_a_model() -> None:
    from vavam_ros.core.artifact.model_card import Domain, ModelCard

    assert "synthetic_world" in get_args(Domain)
    assert {"domain", "trained"} <= set(ModelCard.__dataclass_fields__)


def test_a_bag_waits_for_the_planner_too(model: str) -> None:
    given = {"model": model, "bag": "some.mcap", "namespace": "second"}
    assert by_name(system_rosbag(given))["bag_player_node"].parameters["wait_for_subscribers_topics"] == "/second/tokens"
    composed = by_name(system_rosbag({**given, "composed": "true"}))["bag_player_node"]
    assert "wait_for_subscribers_topics" not in composed.parameters, "one process: the camera's subscriber and the planner are there together"


def test_bag_in_lockstep_knows_the_topics_of_the_nodes(model: str) -> None:
    given = {"model": model, "bag": "some.mcap", "lockstep": "true", "namespace": "second", "plan_rate_hz": "4"}
    player = by_name(system_rosbag(given))["bag_player_node"]
    assert player.parameters["lockstep_tokens_topic"] == "/second/tokens"
    assert player.parameters["lockstep_samples_topic"] == "/second/samples"
    assert player.parameters["lockstep_image_topic"] == "/camera/image/compressed"
    assert player.parameters["lockstep_plan_rate_hz"] == 4.0
    assert "use_sim_time" not in player.parameters, "the player makes the time"
    assert player.on_exit == "shutdown"
    assert by_name(system_rosbag({**given, "exit_with_bag": "false"}))["bag_player_node"].on_exit == "fail"


def test_the_users_own_profile_stays(model: str) -> None:
    system = system_vavam({"model": model})
    both = {"FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"}
    assert set(system.environment) == both
    assert set(system.environment_beside({"FASTDDS_DEFAULT_PROFILES_FILE": "/mine.xml"})) == both - {"FASTDDS_DEFAULT_PROFILES_FILE"}
    assert system_vavam({"model": model, "fastdds_profile": ""}).environment == {}
    ET.parse(next(iter(system.environment.values())))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "argument model: got nothing"),
        ({"modell": "x"}, "got argument modell, expected some of"),
        ({"composed": "maybe"}, "argument composed: got 'maybe'"),
        ({"num_samples": "many"}, "argument num_samples: got 'many'"),
        ({"config": "vehicle,nothing_such"}, "got 'nothing_such', expected a file, or one of"),
        ({"camera_yaml": "/nowhere.yaml"}, "got '/nowhere.yaml', expected a file, or one of"),
    ],
)
def test_wrong_arguments_are_named(given: dict[str, str], words: str, model: str) -> None:
    with pytest.raises(ConfigError) as caught:
        system_vavam(given if not given or "modell" in given else {"model": model, **given})
    assert words in str(caught.value)


# --- drift --------------------------------------------------------------------------------------------------------------------------


def config_values() -> Iterator[tuple[str, str, Any]]:
    for path in sorted(data_dir("config").glob("*.yaml")):
        sections = yaml.safe_load(path.read_text())
        assert list(sections) == ["/**"], f"{path.name}: arguments could not override a section named after a node"
        for key, value in sections["/**"]["ros__parameters"].items():
            yield path.name, key, value


@pytest.mark.drift
@pytest.mark.parametrize(("file", "key", "value"), list(config_values()))
def test_configuration_sets_declared_parameters_to_good_values(file: str, key: str, value: Any) -> None:
    assert key in DECLARED, f"{file}: no node declares {key}"
    row = DECLARED[key]
    value = tuple(value) if isinstance(value, list) else value
    assert type(value) is type(row.default), f"{file}: {key} is a {row.kind}"
    assert row.problem(value) is None


@pytest.mark.drift
def test_arguments_set_declared_parameters_of_their_type() -> None:
    for declaration in SYSTEMS.values():
        for argument in declaration.arguments:
            if not argument.parameter or argument.parameter == "use_sim_time":
                continue
            row = DECLARED[argument.parameter]
            assert argument.kind == row.kind, argument.name
            assert set(argument.choices) - {""} == ({"true", "false"} if row.kind == "bool" else set(row.choices)), argument.name


@pytest.mark.drift
@pytest.mark.ros
def test_the_players_parameters_are_declared(model: str) -> None:
    pytest.importorskip("rclpy")
    from vavam_ros.nodes.bag_player_node import PARAMETERS

    declared: dict[str, Row] = {row.name: row for row in PARAMETERS}
    given = {
        "model": model,
        "bag": "b",
        "rate": "2.0",
        "start_offset_s": "1",
        "duration_s": "2",
        "lockstep": "true",
        "plan_rate_hz": "2",
        "tokenize_rate_hz": "2",
    }
    for name, value in by_name(system_rosbag(given))["bag_player_node"].parameters.items():
        assert type(value) is type(declared[name].default), name
        assert declared[name].problem(value) is None


@pytest.mark.drift
def test_processes_are_executables_of_the_package(model: str) -> None:
    executables = {e.get("name"): e.get("module") for e in ET.parse(ROOT / "package.xml").getroot().findall("export/executable")}
    systems = [system_vavam({"model": model, "composed": "true"}), system_rosbag({"model": model, "bag": "b"})]
    for process in (p for system in systems for p in system.processes):
        assert executables[process.executable] == process.module
        assert (ROOT / f"{process.module.replace('.', '/')}.py").is_file()


@pytest.mark.drift
def test_every_system_has_its_launch_file() -> None:
    assert {path.name.removesuffix(".launch.py") for path in data_dir("launch").glob("*.launch.py")} == set(SYSTEMS)
    for name in SYSTEMS:
        assert f'describe("{name}")' in (data_dir("launch") / f"{name}.launch.py").read_text()


@pytest.mark.drift
def test_viewers_show_topics_that_exist(model: str) -> None:
    process = system_vavam({"model": model}).processes[0]
    published = {f"/{process.namespace}/{target}" for target in remaps(process).values() if not target.startswith("/")}
    displays = yaml.safe_load((data_dir("config") / "vavam.rviz").read_text())["Visualization Manager"]["Displays"]
    in_rviz = {display["Topic"]["Value"] for display in displays if "Topic" in display}
    layout = json.loads((data_dir("config") / "foxglove.json").read_text())
    panels = layout["configById"]
    in_foxglove = {*panels["3D!vavam"]["topics"], *(panels[p]["imageMode"]["imageTopic"] for p in ("Image!model", "Image!overlay"))}
    assert in_rviz == in_foxglove == {"/vavam/path", "/vavam/markers", "/vavam/model_image", "/vavam/overlay"}
    assert in_rviz <= published
    assert panels["Plot!age"]["paths"][0]["value"].removesuffix(".data") in published


# --- vavam launch -------------------------------------------------------------------------------------------------------------------


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_assignments() -> None:
    assert parse_assignments(["a:=b", "c:=", "d:=e:=f"]) == {"a": "b", "c": "", "d": "e:=f"}
    with pytest.raises(ConfigError, match="expected name:=value"):
        parse_assignments(["a=b"])


def test_show_args_lists_every_argument() -> None:
    text = describe_arguments(CARLA)
    assert all(f"  {argument.name}:={argument.default}" in text for argument in CARLA.arguments)
    assert set(resolve(CARLA, {})) == {argument.name for argument in CARLA.arguments}


def test_dry_run_prints_the_commands(model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTDDS_DEFAULT_PROFILES_FILE", raising=False)
    assert run(parse("vavam", f"model:={model}", "--dry-run")) == 0
    text = capsys.readouterr().out
    assert "-m vavam_ros.nodes.tokenizer_node --ros-args" in text
    assert "FASTDDS_DEFAULT_PROFILES_FILE=" in text
    assert run(parse("vehicle", "model:=/nowhere", "--dry-run")) == 2
    assert "expected a model directory" in capsys.readouterr().err


@pytest.mark.ros
@pytest.mark.parametrize("namespace", ["vavam", "a/b"])
def test_a_node_understands_its_command_line(namespace: str, model: str, tmp_path: Path) -> None:
    """Through rcl itself: name, namespace, remapped topics, and which value wins."""
    rclpy = pytest.importorskip("rclpy")
    from rclpy.context import Context

    own = tmp_path / "own.yaml"
    own.write_text("/**:\n  ros__parameters: {num_samples: 7, seed: 5, camera_mode: resize}\n")
    given = {"model": model, "namespace": namespace, "num_samples": "3", "params_file": str(own), "config": "cpu"}
    process = system_carla(given).processes[0]
    context = Context()
    rclpy.init(args=command_of(process, tmp_path)[2:], context=context)
    try:
        node = rclpy.create_node("a_name_in_the_code", context=context, automatically_declare_parameters_from_overrides=True)
        assert node.get_fully_qualified_name() == f"/{namespace}/tokenizer_node"
        assert node.resolve_topic_name("~/tokens") == f"/{namespace}/tokens"
        assert node.resolve_topic_name("~/command") == f"/{namespace}/command"
        assert node.resolve_topic_name("~/odometry") == "/carla/ego_vehicle/odometry"
        values = {name: node.get_parameter(name).value for name in ("num_samples", "seed", "camera_mode", "device", "use_sim_time", "model_dir")}
        assert values == {
            "num_samples": 3,  # the argument, over the file
            "seed": 5,
            "camera_mode": "resize",
            "device": "cpu",  # config/cpu.yaml
            "use_sim_time": True,
            "model_dir": model,
        }
        node.destroy_node()
    finally:
        context.try_shutdown()
    assert yaml.safe_load(parameters_yaml(process))[f"/{namespace}/tokenizer_node"]["ros__parameters"] == dict(process.parameters)
