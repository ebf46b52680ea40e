"""Bring-up of control and of the built-in world: who has the vehicle, who is followed, and what is named before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from system_parts import by_name, remaps

from vavam_ros.bringup import CARLA, ROSBAG, VAVAM, system_carla, system_vehicle
from vavam_ros.core.contracts import ConfigError
from vavam_ros.nodes import path_follower_table, watchdog_table
from vavam_ros.nodes.parameter_table import ROWS


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
