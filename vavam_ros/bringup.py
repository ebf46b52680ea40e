"""What makes a running system, as data: processes, their parameters, remappings and environment.

`launch/*.launch.py` renders it into launch actions, `vavam launch` into subprocesses; a test holds the two equal. Needs neither ROS nor torch.

Names. Everything runs in one namespace (default `vavam`), and every private topic of a node is remapped to the bare name in it:
`/vavam/tokens`, `/vavam/samples`, `/vavam/path`, `/vavam/path_base_link`, `/vavam/path_raw`, `/vavam/markers`, `/vavam/model_image`,
`/vavam/overlay`, `/vavam/age_ms`. So the tokenizer's `~/tokens` meets the planner's, and names do not depend on which process hosts which node. Inputs are
remapped to the topics of the vehicle. A second system beside the first needs only another `namespace`.

Values. The configuration files named by `config` come first, then `params_file`, then arguments; an argument left empty changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from vavam_ros.bringup_control import WORLD_ARGUMENTS, WORLD_CAMERA, control_arguments, control_processes, in_namespace, lock_step_inputs, world_processes
from vavam_ros.bringup_data import FALSE_TRUE, Argument, Declaration, Kind, Process, System, Value, find_file, resolve
from vavam_ros.core.contracts import ConfigError, DomainError

# --- arguments ----------------------------------------------------------------------------------------------------------------------


def _setting(name: str, description: str, *, default: str = "", kind: Kind = "str", choices: tuple[str, ...] = ()) -> Argument:
    """An argument that sets the node parameter of its own name; empty leaves the configuration file's value, or the node's own."""
    if choices and not default:
        choices = ("", *choices)
    return Argument(name=name, description=description, default=default, kind=kind, choices=choices, parameter=name)


_GENERAL = (
    Argument(name="model", description="Model directory (required)."),
    Argument(name="namespace", default="vavam", description="Namespace of the nodes and of their topics."),
    Argument(name="composed", default="false", choices=FALSE_TRUE, description="Both nodes in one process (vavam_node)."),
    Argument(name="params_file", description="A ROS parameter file of your own, read after the configuration."),
    Argument(
        name="fastdds_profile",
        default="fastdds_shm.xml",
        description="Fast DDS profile: a file, or a name in config/; empty: none. The environment's own wins.",
    ),
    Argument(name="log_level", default="info", choices=("debug", "info", "warn", "error"), description="Log level of the nodes."),
    Argument(name="command_topic", default="command", description="DrivingCommand input; a name without a slash lies in the namespace."),
)
_SETTINGS = (
    _setting("device", "auto, cpu, cuda or cuda:<n>."),
    _setting("dtype", "Type the networks run in.", choices=("auto", "float32", "bfloat16", "float16")),
    _setting("autostart", "Configure and activate without a lifecycle manager.", kind="bool", choices=FALSE_TRUE),
    _setting("camera_mode", "warp to the model's camera, or resize only.", choices=("warp", "resize")),
    _setting("camera_yaml", "Calibration of the camera, a file or a name in config/cameras; given, no camera_info is read from a topic."),
    _setting("image_transport", "raw or compressed; empty: compressed if image_topic ends in /compressed.", choices=("raw", "compressed")),
    _setting("rear_axle_x_m", "x of the rear axle in base_link, metres.", kind="float"),
    _setting("tokenize_rate_hz", "Images tokenised per second.", kind="float"),
    _setting("plan_rate_hz", "Plans per second.", kind="float"),
    _setting("num_samples", "Trajectories per plan.", kind="int"),
    _setting("selection", "Which of them is followed.", choices=("medoid", "continuity", "cautious", "first")),
    _setting("noise", "What they are drawn from: for each frame another draw, or the same.", choices=("fresh", "held")),
    _setting("max_plan_age_s", "Age beyond which a plan is no longer published, seconds.", kind="float"),
    _setting("command_source", "Where the driving command comes from.", choices=("topic", "route", "fixed")),
)


def _arguments(*, config: str, sim_time: bool, topics: Mapping[str, str], allow: bool, extra: tuple[Argument, ...] = ()) -> tuple[Argument, ...]:
    """All arguments of a system: the common ones with its own defaults, then its own."""
    return (
        *_GENERAL,
        Argument(name="config", default=config, description="Configuration files, separated by commas: names in config/ (without .yaml) or paths."),
        _setting("use_sim_time", "Take the time from /clock.", default=str(sim_time).lower(), kind="bool", choices=FALSE_TRUE),
        _setting("allow_untrained", "Accept a model that was never trained.", default=str(allow).lower(), kind="bool", choices=FALSE_TRUE),
        _setting("allow_synthetic", "Accept a model trained in a synthetic world.", default=str(allow).lower(), kind="bool", choices=FALSE_TRUE),
        *(Argument(name=f"{name}_topic", default=topic, description=text) for name, topic, text in _topic_rows(topics)),
        *_SETTINGS,
        *extra,
    )


def _topic_rows(topics: Mapping[str, str]) -> list[tuple[str, str, str]]:
    texts = {
        "image": "Image input: the raw topic, or the compressed one.",
        "camera_info": "CameraInfo input; empty: beside the image.",
        "odometry": "Odometry input.",
        "route": "Route input (nav_msgs/Path), for command_source: route.",
    }
    return [(name, topics.get(name, ""), text) for name, text in texts.items()]


# --- processes ----------------------------------------------------------------------------------------------------------------------

_OUTPUTS = ("tokens", "samples", "path", "path_base_link", "path_raw", "markers", "model_image", "overlay", "age_ms")


def _core_processes(declaration: Declaration, args: Mapping[str, str], topics: Mapping[str, str], mount_yaml: str = "") -> tuple[Process, ...]:
    """Tokenizer and planner, in two processes or in one. `mount_yaml`: says where the camera sits, should TF not."""
    if not args["model"]:
        raise ConfigError("argument model: got nothing, expected a model directory: model:=DIR (`vavam inspect DIR` shows what one holds)")
    if not (Path(args["model"]).expanduser() / "model.yaml").is_file():
        raise ConfigError(f"argument model: got {args['model']}, expected a model directory with a model.yaml; `vavam convert` makes one")
    image, compressed = topics["image"], topics["image"].endswith("/compressed")
    image = image.removesuffix("/compressed")
    values = {"model_dir": str(Path(args["model"]).expanduser().resolve()), **_settings(declaration, args)}
    if compressed and not args["image_transport"]:
        values["image_transport"] = "compressed"
    if args["camera_yaml"]:
        values["camera_yaml"] = find_file(args["camera_yaml"], ".yaml", "cameras")
        values["camera_info_source"] = "yaml"
    elif mount_yaml:
        values["camera_yaml"] = mount_yaml
    inputs = {
        "image": image,
        "image/compressed": f"{image}/compressed",
        "camera_info": topics["camera_info"] or f"{image.rpartition('/')[0]}/camera_info",
        "odometry": topics["odometry"],
        "command": args["command_topic"],
        "route": topics["route"],
    }
    values |= lock_step_inputs(args, inputs["image/compressed" if compressed else "image"], inputs["camera_info"], inputs["odometry"])
    remappings = tuple((f"~/{name}", topic) for name, topic in {**inputs, **{name: name for name in _OUTPUTS}}.items())

    def process(name: str) -> Process:
        return Process(
            name=name,
            executable=name,
            namespace=args["namespace"],
            node_name=name,
            parameter_files=_parameter_files(args),
            parameters=values,
            remappings=remappings,
            log_level=args["log_level"],
        )

    if args["composed"] == "true":
        return (process("vavam_node"),)
    return (process("tokenizer_node"), process("planner_node"))


def _settings(declaration: Declaration, args: Mapping[str, str]) -> dict[str, Value]:
    """Node parameters that arguments set."""
    return {a.parameter: a.value(args[a.name]) for a in declaration.arguments if a.parameter and args[a.name] != ""}


def _parameter_files(args: Mapping[str, str]) -> tuple[str, ...]:
    files = [find_file(name, ".yaml") for name in args["config"].split(",") if name.strip()]
    return (*files, find_file(args["params_file"], ".yaml")) if args["params_file"] else tuple(files)


def _environment(args: Mapping[str, str]) -> dict[str, str]:
    if not args["fastdds_profile"]:
        return {}
    profile = find_file(args["fastdds_profile"], ".xml")
    # Fast DDS 3 (kilted) reads the first name, Fast DDS 2 (humble, jazzy) the second.
    return {"FASTDDS_DEFAULT_PROFILES_FILE": profile, "FASTRTPS_DEFAULT_PROFILES_FILE": profile}


def _system(declaration: Declaration, args: Mapping[str, str], topics: Mapping[str, str], *more: Process, mount_yaml: str = "") -> System:
    processes = (*_core_processes(declaration, args, topics, mount_yaml), *more)
    return System(name=declaration.name, processes=processes, environment=_environment(args))


def _given_topics(args: Mapping[str, str]) -> dict[str, str]:
    return {name: args[f"{name}_topic"] for name in ("image", "camera_info", "odometry", "route")}


# --- systems ------------------------------------------------------------------------------------------------------------------------

PLAIN_TOPICS = {"image": "/camera/image_raw", "camera_info": "/camera/camera_info", "odometry": "/odom", "route": "route"}
VEHICLE_TOPICS: dict[str, dict[str, str]] = {
    "plain": PLAIN_TOPICS,
    # base_link is the rear axle; its route is a lanelet route, not a path, so `route` stays ours.
    "autoware": {
        "image": "/sensing/camera/camera0/image_raw",
        "camera_info": "/sensing/camera/camera0/camera_info",
        "odometry": "/localization/kinematic_state",
        "route": "route",
    },
    "nav2": {"image": "/camera/image_raw", "camera_info": "/camera/camera_info", "odometry": "/odom", "route": "/plan"},
}
CARLA_CAMERA = "vavam_front"
BAG_TOPICS = {"image": "/camera/image/compressed", "camera_info": "/camera/camera_info", "odometry": "/odometry", "route": "route"}


def system_vavam(given: Mapping[str, str]) -> System:
    """The core nodes alone, on topics of your choice."""
    args = resolve(VAVAM, given)
    return _system(VAVAM, args, _given_topics(args))


def system_vehicle(given: Mapping[str, str]) -> System:
    """The core nodes on a vehicle's topics. Raises DomainError for an untrained or synthetic model, unless allowed."""
    args = resolve(VEHICLE, given)
    topics = {name: topic or VEHICLE_TOPICS[args["interface"]][name] for name, topic in _given_topics(args).items()}
    control = control_processes(args, topics, _parameter_files(args), vehicle="", watched=_model_nodes(args))
    system = _system(VEHICLE, args, topics, *control)
    _require_domain(Path(args["model"]).expanduser(), args)
    return system


def _require_domain(model: Path, args: Mapping[str, str]) -> None:
    """Refuse before anything starts what the nodes would refuse too. Only the card's text is read: loading a model needs torch."""
    try:
        card = yaml.safe_load((model / "model.yaml").read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"argument model: got {model}, expected a model directory with a model.yaml ({error})") from error
    domain, trained = (card.get("domain"), card.get("trained")) if isinstance(card, dict) else (None, None)
    if trained is not True and args["allow_untrained"] != "true":
        raise DomainError(f"{model}: got a model that was never trained, expected a trained one on a vehicle: allow_untrained:=true if you mean it")
    if domain == "synthetic_world" and args["allow_synthetic"] != "true":
        raise DomainError(f"{model}: got a model of a synthetic world, expected one trained on real drives: allow_synthetic:=true if you mean it")


def system_rosbag(given: Mapping[str, str]) -> System:
    """The core nodes and a player; time comes from the bag."""
    args = resolve(ROSBAG, given)
    if not args["bag"]:
        raise ConfigError("argument bag: got nothing, expected a rosbag2 directory, an .mcap or a .db3 file: bag:=PATH")
    topics = _given_topics(args)
    values: dict[str, Value] = {a.name: a.value(args[a.name]) for a in _PLAYER if a.name != "exit_with_bag" and args[a.name] != ""}
    values["bag"] = str(Path(args["bag"]).expanduser().resolve())
    if args["lockstep"] == "true":
        values["lockstep_image_topic"] = topics["image"]
        values |= {f"lockstep_{name}_topic": in_namespace(args, name) for name in ("tokens", "samples")}
        values |= {f"lockstep_{name}": float(args[name]) for name in ("tokenize_rate_hz", "plan_rate_hz") if args[name]}
    if args["composed"] != "true":  # else the planner listens when the camera's subscriber does
        values["wait_for_subscribers_topics"] = in_namespace(args, "tokens")
    player = Process(
        name="bag_player_node",
        executable="bag_player_node",
        node_name="bag_player",
        namespace=args["namespace"],
        parameters=values,
        log_level=args["log_level"],
        on_exit="shutdown" if args["exit_with_bag"] == "true" else "fail",
    )
    return _system(ROSBAG, args, topics, player)


def system_carla(given: Mapping[str, str]) -> System:
    """The core nodes, follower and gate on the topics of the CARLA-ROS bridge, or of the built-in world; time comes from the simulator."""
    args = resolve(CARLA, given)
    vehicle = f"/carla/{args['role_name']}"
    own_camera = bool(args["world"]) and not args["world_objects"]
    camera = f"{vehicle}/{WORLD_CAMERA if own_camera else args['camera']}"
    standard = {"image": f"{camera}/image", "camera_info": f"{camera}/camera_info", "odometry": f"{vehicle}/odometry", "route": f"{vehicle}/waypoints"}
    topics = {name: topic or standard[name] for name, topic in _given_topics(args).items()}
    if args["world"] and args["world_compressed"] == "true":
        topics["image"] += "/compressed"
    by_model = not args["world"] or args["world_driver"] == "model"
    control = control_processes(
        args,
        topics,
        _parameter_files(args),
        vehicle=vehicle,
        watched=_model_nodes(args) if by_model else (),
        path="path_raw" if by_model else "driver_path",
    )
    # Without sensor.pseudo.tf nothing tells where the camera sits; the objects file that we ship does.
    mount_yaml = find_file("carla_vavam_front", ".yaml", "cameras") if args["camera"] == CARLA_CAMERA and not own_camera else ""
    return _system(CARLA, args, topics, *control, *world_processes(args, topics), mount_yaml=mount_yaml)


def _model_nodes(args: Mapping[str, str]) -> tuple[str, ...]:
    return ("vavam_node",) if args["composed"] == "true" else ("tokenizer_node", "planner_node")


_PLAYER = (
    Argument(name="bag", description="What to play: a rosbag2 directory, an .mcap or a .db3 file (required)."),
    Argument(name="rate", kind="float", description="Factor on real time."),
    Argument(name="loop", default="false", choices=FALSE_TRUE, kind="bool", description="Begin again at the end."),
    Argument(name="start_offset_s", kind="float", description="Begin this far into the bag, seconds."),
    Argument(name="duration_s", kind="float", description="Play this much of the bag, seconds."),
    Argument(name="lockstep", default="false", choices=FALSE_TRUE, kind="bool", description="Wait for the plan of each picture before the next."),
    Argument(name="wait_for_subscribers_s", default="120", kind="float", description="Wait this long for the nodes to be ready, seconds."),
    Argument(name="exit_with_bag", default="true", choices=FALSE_TRUE, description="Stop everything when the bag has ended."),
)

VAVAM = Declaration(
    name="vavam",
    description="the core nodes alone, on topics of your choice",
    arguments=_arguments(config="", sim_time=False, topics=PLAIN_TOPICS, allow=True),
    build=system_vavam,
)
VEHICLE = Declaration(
    name="vehicle",
    description="the core nodes on a vehicle; refuses untrained and synthetic models",
    arguments=_arguments(
        config="vehicle",
        sim_time=False,
        topics={},
        allow=False,
        extra=(
            Argument(name="interface", default="plain", choices=tuple(VEHICLE_TOPICS), description="Whose topic names hold where no topic is given."),
            *control_arguments(control=False, control_type="ackermann_stamped"),
        ),
    ),
    build=system_vehicle,
)
ROSBAG = Declaration(
    name="rosbag",
    description="the core nodes and a bag player",
    arguments=_arguments(config="rosbag", sim_time=True, topics=BAG_TOPICS, allow=True, extra=_PLAYER),
    build=system_rosbag,
)
CARLA = Declaration(
    name="carla",
    description="the core nodes, path follower and gate on the CARLA-ROS bridge or in the built-in world",
    arguments=_arguments(
        config="carla",
        sim_time=True,
        topics={},
        allow=True,
        extra=(
            Argument(name="role_name", default="ego_vehicle", description="Role name of the vehicle."),
            Argument(name="camera", default=CARLA_CAMERA, description="Id of the camera in the objects file."),
            *control_arguments(control=True, control_type="carla"),
            *WORLD_ARGUMENTS,
        ),
    ),
    build=system_carla,
)
SYSTEMS: dict[str, Declaration] = {d.name: d for d in (VAVAM, VEHICLE, ROSBAG, CARLA)}
