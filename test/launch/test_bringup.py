"""Bring-up data: what it says fits what nodes declare, and `vavam launch` passes on exactly that. (The launch files: test_launch_real.py.)"""

from __future__ import annotations

import argparse
import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from vavam_ros.bringup import CARLA, ROSBAG, SYSTEMS, VAVAM, VEHICLE, VEHICLE_TOPICS, system_carla, system_rosbag, system_vavam, system_vehicle
from vavam_ros.bringup_data import Process, System, data_dir, resolve
from vavam_ros.cli.launch import add_arguments, command_of, describe_arguments, parameters_yaml, parse_assignments, run
from vavam_ros.core.contracts import ConfigError, DomainError
from vavam_ros.nodes import path_follower_table, watchdog_table
from vavam_ros.nodes.parameter_table import ROWS, Row

ROOT = Path(__file__).resolve().parents[2]
DECLARED = {row.name: row for row in ROWS}


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A card of a model that was trained on real drives."""
    (tmp_path / "model.yaml").write_text("domain: real\ntrained: true\n")
    return str(tmp_path)


def remaps(process: Process) -> dict[str, str]:
    return dict(process.remappings)


def by_name(system: System) -> dict[str, Process]:
    return {process.name: process for process in system.processes}


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


# --- control and the built-in world -------------------------------------------------------------------------------------------------


def test_carla_is_driven_through_follower_and_gate_and_only_the_gate_has_the_vehicle(model: str) -> None:
    processes = by_name(system_carla({"model": model, "role_name": "hero"}))
    follower, gate = processes["path_follower_node"], processes["watchdog_node"]
    assert remaps(follower)["~/path"] == remaps(gate)["~/path"] == "path_raw", "its stamp is the picture's"
    assert remaps(follower)["~/control"] == remaps(gate)["~/control_in"] == "control"
    assert remaps(follower)["~/vehicle_info"] == "/carla/hero/vehicle_info"
    on_the_vehicle = [(p.name, name) for p in processes.values() for name, topic in p.remappings if topic == "/carla/hero/vehicle_control_cmd"]
    assert on_the_vehicle == [("watchdog_node", "~/control_out")]
    assert gate.parameters["watched_nodes"] == "tokenizer_node planner_node"
    assert gate.parameters["auto_enable"] is False, "it starts disarmed"
    assert by_name(system_carla({"model": model, "composed": "true"}))["watchdog_node"].parameters["watched_nodes"] == "vavam_node"
    assert not {"path_follower_node", "watchdog_node"} & set(by_name(system_carla({"model": model, "control": "false"})))


def test_a_vehicle_gets_control_only_when_told_how(model: str) -> None:
    assert "watchdog_node" not in by_name(system_vehicle({"model": model}))
    with pytest.raises(ConfigError, match="control_topic"):
        system_vehicle({"model": model, "control": "true"})
    gate = by_name(system_vehicle({"model": model, "control": "true", "control_topic": "/vehicle/cmd"}))["watchdog_node"]
    assert remaps(gate)["~/control_out"] == "/vehicle/cmd"
    assert gate.parameters["control_type"] == "ackermann_stamped"
    assert "disarmed_output" not in gate.parameters, "nothing reaches a vehicle before it is enabled"


def test_the_world_takes_carlas_place_on_the_same_topics(model: str) -> None:
    pytest.importorskip("vavam_world")
    with_carla, with_world = (by_name(system_carla({"model": model, **extra})) for extra in ({"camera": "front"}, {"world": "{}"}))
    assert set(with_world) - set(with_carla) == {"world_node"}
    for name, process in with_carla.items():
        assert process.remappings == with_world[name].remappings, name
    world = with_world["world_node"]
    assert world.module == "vavam_world.bridge.world_node"
    assert world.on_exit == "shutdown"
    assert (world.parameters["samples_topic"], world.parameters["followed_topic"]) == ("/vavam/samples", "/vavam/followed")
    assert with_world["watchdog_node"].parameters["disarmed_output"] == "brake", "lock-step waits for a control of every tick"


def test_another_driver_is_followed_and_the_model_plans_beside_it(model: str) -> None:
    pytest.importorskip("vavam_world")
    processes = by_name(system_carla({"model": model, "world": "{}", "world_driver": "lane_follower"}))
    assert remaps(processes["driver_node"])["~/path"] == remaps(processes["path_follower_node"])["~/path"] == "driver_path"
    assert processes["watchdog_node"].parameters["watched_nodes"] == "", "no model node drives"
    assert "samples_topic" not in processes["world_node"].parameters, "nobody waits for the model"
    assert processes["world_node"].parameters["beside_topic"] == "/vavam/path"
    by_expert = by_name(system_carla({"model": model, "world": "{}", "world_driver": "expert"}))
    assert "driver_node" not in by_expert
    assert by_expert["world_node"].parameters["expert_path_topic"] == "/vavam/driver_path"


def test_a_missing_world_is_named(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vavam_ros.bringup_control.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"vavam_world is not installed for this Python: pip install"):
        system_carla({"model": model, "world": "{}"})


def test_a_missing_model_is_named_before_anything_starts(tmp_path: Path) -> None:
    for declaration, extra in ((VAVAM, {}), (ROSBAG, {"bag": "b"}), (CARLA, {})):
        with pytest.raises(ConfigError, match=r"argument model: got .*, expected a model directory with a model\.yaml"):
            declaration.build({"model": str(tmp_path / "none"), **extra})


def test_what_the_world_cannot_be_is_named_before_anything_starts(model: str, tmp_path: Path) -> None:
    pytest.importorskip("vavam_world")
    with pytest.raises(ConfigError, match=r"argument world: got .*none.json', expected a JSON file"):
        system_carla({"model": model, "world": str(tmp_path / "none.json")})
    for name in ("world_rate", "world_prime_s", "world_latency_s", "tokenize_rate_hz", "rear_axle_x_m"):
        with pytest.raises(ConfigError, match=f"argument {name}: got 'fast', expected a number"):
            system_carla({"model": model, "world": "{}", name: "fast"})


def test_every_value_is_of_a_parameter_that_its_node_declares(model: str) -> None:
    table = pytest.importorskip("vavam_world.bridge.world_table")
    driver = pytest.importorskip("vavam_world.bridge.driver_node")
    own = {
        "world_node": table.PARAMETERS,
        "driver_node": driver.PARAMETERS,
        "path_follower_node": path_follower_table.PARAMETERS,
        "watchdog_node": watchdog_table.PARAMETERS,
    }
    given = {"world": "{}", "world_driver": "lane_follower", "world_faults": "{}", "world_result": "r.json"}
    given |= {"world_rate": "1", "world_latency_s": "0.2", "world_objects": "o.json"}
    for extra in (given, {"world": "{}", "tokenize_rate_hz": "2", "plan_rate_hz": "2", "rear_axle_x_m": "-1.4"}):
        for process in system_carla({"model": model, **extra}).processes:
            declared = {row.name for row in own.get(process.name, ROWS)} | {"use_sim_time"}
            assert {name for name in process.parameters if not name.startswith("qos_overrides.")} <= declared, process.name


def test_in_lock_step_no_input_can_be_lost(model: str) -> None:
    def overrides(name: str, **given: str) -> dict[str, object]:
        (process,) = (p for p in system_carla({"model": model, "composed": "true", **given}).processes if p.name == name)
        return {key: value for key, value in process.parameters.items() if key.startswith("qos_overrides.")}

    of_model = overrides("vavam_node", world="{}")
    wanted = [f"qos_overrides.{topic}.subscription" for topic in _inputs_of(model)]
    assert of_model == {f"{w}.{policy}": value for w in wanted for policy, value in (("reliability", "reliable"), ("depth", 50))}
    assert set(overrides("path_follower_node", world="{}")) == {f"{w}.{policy}" for w in wanted if "odometry" in w for policy in ("reliability", "depth")}
    assert overrides("vavam_node", world="{}", world_mode="free_running") == overrides("vavam_node") == {}


def _inputs_of(model: str) -> list[str]:
    """Resolved topics of picture, camera_info and odometry, as the model's node subscribes to them."""
    (process,) = (p for p in system_carla({"model": model, "composed": "true", "world": "{}"}).processes if p.name == "vavam_node")
    remapped = dict(process.remappings)
    return [remapped[f"~/{name}"] for name in ("image", "camera_info", "odometry")]
