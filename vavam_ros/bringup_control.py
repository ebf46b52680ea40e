"""What a system that drives has on top of the one that plans: the path follower, the gate before the vehicle, and the built-in world in CARLA's place."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from vavam_ros.bringup_data import FALSE_TRUE, Argument, Process, Value
from vavam_ros.core.contracts import ConfigError

WORLD_PACKAGE = "vavam_world"
WORLD_CAMERA = "front"  # id of the world's own camera
CONTROL_TYPES = ("carla", "ackermann_stamped", "ackermann")
DRIVERS = ("model", "expert", "lane_follower", "constant_velocity")


def control_arguments(*, control: bool, control_type: str) -> tuple[Argument, ...]:
    """Arguments of the follower and the gate."""
    return (
        Argument(
            name="control",
            default=str(control).lower(),
            choices=FALSE_TRUE,
            description="Start the path follower and the gate before the vehicle. The gate starts disarmed.",
        ),
        Argument(name="control_type", default=control_type, choices=CONTROL_TYPES, description="Type of the vehicle's control messages."),
        Argument(name="control_topic", description="Topic of the vehicle's control; empty: the bridge's for this type."),
        Argument(name="auto_enable", default="false", choices=FALSE_TRUE, description="Arm the gate by itself when all is well; in simulated time only."),
    )


WORLD_ARGUMENTS = (
    Argument(
        name="world",
        description="Start the built-in world in CARLA's place, with this scenario: a JSON file of one, or JSON itself; needs the package vavam_world.",
    ),
    Argument(name="world_mode", default="lock_step", choices=("lock_step", "free_running"), description="Wait for plan and control of each tick, or not."),
    Argument(name="world_objects", description="Objects file for the world; empty: its own small camera, whatever `camera` says."),
    Argument(name="world_driver", default="model", choices=DRIVERS, description="Whose path is followed: the model's, or that of one of the world's drivers."),
    Argument(name="world_rate", kind="float", description="Pace against the wall clock; empty: as fast as all answer in lock_step, 1 in free_running."),
    Argument(name="world_prime_s", default="2.0", kind="float", description="The expert drives this long, and until the gate is armed, before it hands over."),
    Argument(
        name="world_latency_s",
        kind="float",
        description="Model of latency in lock_step: a plan is followed from this long after its picture on, seconds; empty: from the next tick on.",
    ),
    Argument(name="world_compressed", default="false", choices=FALSE_TRUE, description="The world also publishes JPEG pictures, and the nodes take these."),
    Argument(name="world_faults", description="Faults to inject: a JSON file of them, or JSON itself."),
    Argument(name="world_result", description="JSON file for the result of the run; its trace goes beside it."),
    Argument(name="exit_with_world", default="true", choices=FALSE_TRUE, description="Stop everything when the scenario has ended."),
)


def in_namespace(args: Mapping[str, str], name: str) -> str:
    """The full name of a topic of the namespace; a name with a slash in front stays."""
    return name if name.startswith("/") else f"/{args['namespace'].strip('/')}/{name}".replace("//", "/")


LOCK_STEP_DEPTH = 50  # messages: more than come between two answers


def lock_step(args: Mapping[str, str]) -> bool:
    """The built-in world runs, and waits for its answers."""
    return bool(args.get("world")) and args["world_mode"] == "lock_step"


def lock_step_inputs(args: Mapping[str, str], *topics: str) -> dict[str, Value]:
    """Parameters that let none of these inputs be lost in lock-step: one picture that best effort or a short queue loses on a busy machine shifts the grid
    of the frames that are taken."""
    each: dict[str, Value] = {"reliability": "reliable", "depth": LOCK_STEP_DEPTH}
    names = [in_namespace(args, topic) for topic in topics] if lock_step(args) else []
    return {f"qos_overrides.{name}.subscription.{policy}": value for name in names for policy, value in each.items()}


def control_processes(
    args: Mapping[str, str], topics: Mapping[str, str], files: tuple[str, ...], *, vehicle: str, watched: tuple[str, ...], path: str = "path_raw"
) -> tuple[Process, ...]:
    """Follower and gate. `vehicle`: prefix of the vehicle's topics; `watched`: model nodes that must live; `path`: topic of the path to follow."""
    if args["control"] != "true":
        return ()
    control_topic = args["control_topic"]
    if not control_topic and not vehicle:
        raise ConfigError("argument control_topic: got nothing, expected the topic that the vehicle takes its control from: control_topic:=/…")
    control_topic = control_topic or f"{vehicle}/{'vehicle_control_cmd' if args['control_type'] == 'carla' else 'ackermann_cmd'}"
    common: dict[str, Value] = {"control_type": args["control_type"], "use_sim_time": args["use_sim_time"] == "true"}
    axle: dict[str, Value] = {"rear_axle_x_m": float(args["rear_axle_x_m"])} if args["rear_axle_x_m"] else {}
    follower = Process(
        name="path_follower_node",
        executable="path_follower_node",
        namespace=args["namespace"],
        node_name="path_follower_node",
        parameter_files=files,
        parameters={
            **common,
            **axle,
            **({"min_plan_age_s": float(args["world_latency_s"])} if args.get("world_latency_s") else {}),
            **lock_step_inputs(args, topics["odometry"]),
        },
        remappings=(
            ("~/path", path),
            ("~/odometry", topics["odometry"]),
            ("~/vehicle_info", f"{vehicle}/vehicle_info" if vehicle else "vehicle_info"),
            ("~/control", "control"),
            ("~/followed", "followed"),
        ),
        log_level=args["log_level"],
    )
    image = topics["image"].removesuffix("/compressed")
    gate = Process(
        name="watchdog_node",
        executable="watchdog_node",
        namespace=args["namespace"],
        node_name="watchdog_node",
        parameter_files=files,
        parameters={
            **common,
            "auto_enable": args["auto_enable"] == "true",
            "watched_nodes": " ".join(watched),
            "role_name": args.get("role_name", ""),
            # the world waits for a control of every tick, also before the gate is armed
            **({"disarmed_output": "brake"} if lock_step(args) else {}),
        },
        remappings=(
            ("~/path", path),
            ("~/odometry", topics["odometry"]),
            ("~/camera_info", topics["camera_info"] or f"{image.rpartition('/')[0]}/camera_info"),
            ("~/tokens", "tokens"),
            ("~/control_in", "control"),
            ("~/control_out", control_topic),
            ("~/manual_override", "manual_override"),
            ("~/state", "gate_state"),
            ("~/path_seen", "path_seen"),
            ("~/enable", "enable"),
        ),
        log_level=args["log_level"],
    )
    return (follower, gate)


def world_processes(args: Mapping[str, str], topics: Mapping[str, str]) -> tuple[Process, ...]:
    """The built-in world, and the driver whose path is followed where it is not the model's. Raises ConfigError where the world is not installed."""
    if not args["world"]:
        return ()
    if importlib.util.find_spec(WORLD_PACKAGE) is None:
        raise ConfigError(
            f"argument world: got {args['world']!r}, but the package {WORLD_PACKAGE} is not installed for this Python: pip install ./world "
            "from the source tree (make setup does it), or leave world out and start CARLA with its ROS bridge"
        )
    by_model = args["world_driver"] == "model"
    values: dict[str, Value] = {
        "use_sim_time": False,  # the world makes the clock
        "scenario": _scenario(args["world"]),
        "role_name": args["role_name"],
        "mode": args["world_mode"],
        "compressed": args["world_compressed"] == "true",
        "await_control": "stamped" if args["control"] == "true" and args["control_type"] == "carla" else "none",
    }
    for argument, parameter in (("world_objects", "objects_definition_file"), ("world_result", "result_file"), ("world_faults", "faults")):
        if args[argument]:
            values[parameter] = args[argument]
    if lock_step(args) and by_model:
        values |= {"tokens_topic": in_namespace(args, "tokens"), "samples_topic": in_namespace(args, "samples")}
        values |= {name: float(args[name]) for name in ("tokenize_rate_hz", "plan_rate_hz") if args[name]}
    if args["control"] == "true":
        values |= {f"{name}_topic": in_namespace(args, name) for name in ("followed", "gate_state", "path_seen")}
    if args["world_prime_s"]:
        values["prime_s"] = float(args["world_prime_s"])
    if args["world_driver"] == "expert":
        values["expert_path_topic"] = in_namespace(args, "driver_path")
    if args["world_rate"]:
        values["real_time_factor"] = float(args["world_rate"])
    if not by_model:
        values["beside_topic"] = in_namespace(args, "path")
        values |= {"tokenize_rate_hz": 0.0, "plan_rate_hz": 0.0}  # it plans from every picture
    world = Process(
        name="world_node",
        executable="world_node",
        python_module=f"{WORLD_PACKAGE}.bridge.world_node",
        namespace="",
        node_name="carla_ros_bridge",
        parameters=values,
        log_level=args["log_level"],
        on_exit="shutdown" if args["exit_with_world"] == "true" else "fail",
    )
    if by_model or args["world_driver"] == "expert":
        return (world,)
    driver = Process(
        name="driver_node",
        executable="driver_node",
        python_module=f"{WORLD_PACKAGE}.bridge.driver_node",
        namespace=args["namespace"],
        node_name="driver_node",
        parameters={"use_sim_time": True, "driver": args["world_driver"], "scenario": _scenario(args["world"])},
        remappings=(
            ("~/image", topics["image"].removesuffix("/compressed")),
            ("~/camera_info", topics["camera_info"] or f"{topics['image'].removesuffix('/compressed').rpartition('/')[0]}/camera_info"),
            ("~/odometry", topics["odometry"]),
            ("~/path", "driver_path"),
        ),
        log_level=args["log_level"],
    )
    return (world, driver)


def _scenario(text: str) -> str:
    """JSON as it is, a file by its full name: the processes may run elsewhere. Raises ConfigError where there is no such file."""
    if text.lstrip().startswith("{"):
        return text
    path = Path(text).expanduser().resolve()
    if not path.is_file():
        raise ConfigError(f"argument world: got {text!r}, expected a JSON file of a scenario, or JSON itself")
    return str(path)
