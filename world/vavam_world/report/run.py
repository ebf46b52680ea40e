"""One run of an evaluation: drive, score, and keep what the report shows. Runs in a worker process."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import cv2

from vavam_ros.core.artifact import read_card
from vavam_ros.core.contracts import ConfigError, InputError
from vavam_world.contracts import TICK_S, U8, WORLD_CAMERA, Backend, CameraSpec, Driver, HasCommandRule, LookSpec, RoadMap, Scenario, Trace, WorldState
from vavam_world.drivers import DIRECT, make
from vavam_world.drivers.loop import COMMAND_RULE, OnTick, drive
from vavam_world.drivers.model_driver import as_set, checked_settings
from vavam_world.drivers.shown import Shown, image_filter
from vavam_world.live.run import LiveSystem, drive_live
from vavam_world.render.renderer import Renderer
from vavam_world.report import figures
from vavam_world.report.film import VIDEO_CAMERA, Film, write_film
from vavam_world.report.on_camera import draw_path, plan_at
from vavam_world.scoring.run_score import RunScore, failed, score_run
from vavam_world.sim.simulation import Simulation

Media: TypeAlias = Literal["all", "failures", "none"]
MODEL_DRIVER = "vavam"  # a model, through the live nodes
MODEL_DRIVERS = (MODEL_DRIVER, DIRECT)
MODEL_HELP = f"model directory: {MODEL_DRIVER} drives through the live nodes, in lock-step; {DIRECT} by the same pipeline without them"
# of the planner, and the launch arguments that they are through live nodes: planning from more pictures takes more of them tokenized
LIVE_SETTINGS = {
    "samples": ("num_samples",),
    "selection": ("selection",),
    "noise": ("noise",),
    "plan_rate_hz": ("plan_rate_hz", "tokenize_rate_hz"),
}
MOST_SAMPLES = 256  # that num_samples may be
DO_NOTHING = "constant_velocity"  # whose impact speed is NeuroNCAP's v_r
FORMAT = 1  # of the run files
SHOWN = (0.3, 0.65, 1.0)  # shares of a run at which the camera is shown


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectModel:
    """A model directory, the longest context it is given (0: its own), and settings of its planner (drivers/model_driver.py)."""

    model: Path
    frames: int = 0
    planner: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunJob:
    """One run to do. `folder` gets one JSON per run, written last, with pictures and video beside it."""

    scenario: Scenario
    suite: str
    split: str
    kind: str  # route or safety
    suite_sha256: str
    driver: str
    folder: Path
    media: Media = "all"
    always_show: bool = False  # pictures also where it went well and media is `failures`
    backend: Backend = "auto"
    latency_ticks: int = 0
    live: LiveSystem | None = None  # driven by live nodes, not in this process; `driver` is then its name
    direct: DirectModel | None = None  # what drives where the driver is a model without its nodes
    pictures: Shown = "as_taken"

    @property
    def stem(self) -> str:
        """File name of the run without suffix."""
        return self.scenario.name.replace("/", "-")

    @property
    def path(self) -> Path:
        """Where its JSON goes."""
        return self.folder / f"{self.stem}.json"

    @property
    def made_with(self) -> dict[str, str]:
        """What else than scenario and driver decides the run, where it is not the default. Raises ConfigError on a model without a card."""
        found = {"latency_ticks": str(self.latency_ticks)} if self.latency_ticks else {}
        if self.backend != "auto":
            found["backend"] = self.backend
        if self.live is not None:
            found["model_card_sha256"] = _card_sha256(self.live.model)
            found |= {"arguments": " ".join(f"{name}:={value}" for name, value in sorted(self.live.arguments.items()))} if self.live.arguments else {}
        if self.direct is not None:
            found |= {"model_card_sha256": _card_sha256(self.direct.model)} | ({"frames": str(self.direct.frames)} if self.direct.frames else {})
            found |= {"planner": " ".join(as_set(self.direct.planner))} if self.direct.planner else {}
        return found | ({"pictures": self.pictures} if self.pictures != "as_taken" else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run that was done: its score, and its files by what they show, relative to the JSON's folder."""

    suite: str
    split: str
    kind: str
    suite_sha256: str
    score: RunScore
    media: Mapping[str, str | list[str]]
    trace: str = ""  # of an error that was not the driver's own
    made_with: Mapping[str, str] = field(default_factory=dict)  # as of its job

    @property
    def failure(self) -> bool:
        """Something a person should look at: a route not ended well, a safety run that collided or left the road."""
        score = self.score
        return not score.success if self.kind == "route" else score.collided or score.off_road or score.finished == "driver_error"


def do_run(job: RunJob, on_tick: OnTick | None = None, on_line: Callable[[str], None] = lambda line: None) -> Run:
    """Drive, score, draw, and write the run's JSON. `on_tick` is the loop's; `on_line` gets the output of live nodes."""
    trace = drive_job(job, on_tick, on_line)
    if job.live is not None:
        trace = replace(trace, driver=job.driver, beside_name=job.live.beside_name if job.live.driver != "model" else "")
    sim = Simulation(job.scenario)
    score = score_run(trace, sim.road_map, sim.route, sim.lanes, vehicle=sim.vehicle)
    run = Run(suite=job.suite, split=job.split, kind=job.kind, suite_sha256=job.suite_sha256, score=score, media={}, made_with=job.made_with)
    if trace.states and (job.media == "all" or (job.media == "failures" and (run.failure or job.always_show))):
        run = replace(run, media=_draw(job, trace, sim))
    write_run(job.path, run)
    return run


def drive_job(job: RunJob, on_tick: OnTick | None = None, on_line: Callable[[str], None] = lambda line: None) -> Trace:
    """The run alone. `on_line` gets the output of live nodes.

    A driver that cannot be made is an error of the whole evaluation, not of the run: make it before."""
    if job.live is not None:
        return drive_live(job.scenario, job.live, on_line=on_line)
    driver: Driver = make(job.driver) if job.direct is None else made_direct(job.direct)
    renderer = None
    if driver.needs_image:
        renderer = studio(Simulation(job.scenario).road_map, job.scenario.look, WORLD_CAMERA, job.backend)
    return drive(
        job.scenario,
        driver,
        renderer=renderer,
        latency_ticks=job.latency_ticks,
        command_rule=driver.command_rule if isinstance(driver, HasCommandRule) else COMMAND_RULE,
        image_filter=image_filter(job.pictures, seed=job.scenario.map.seed),
        on_tick=on_tick,
    )


def do_nothing(job: RunJob) -> float | None:
    """Impact speed of a driver that does nothing, or None where it meets nobody."""
    trace = drive(job.scenario, make(DO_NOTHING))
    return trace.collisions[0].impact_mps if trace.collisions else None


_renderer: Renderer | None = None


def studio(road_map: RoadMap, look: LookSpec, camera: CameraSpec, backend: Backend) -> Renderer:
    """This process's one renderer, with this scene and camera; kept from run to run."""
    global _renderer
    if _renderer is not None and _renderer.cameras == (camera,):
        _renderer.load(road_map, look)
        return _renderer
    close_studio()
    _renderer = Renderer(road_map, look, [camera], backend=backend)
    return _renderer


def close_studio() -> None:
    """Give this process's renderer back, if there is one."""
    global _renderer
    if _renderer is not None:
        _renderer.close()
        _renderer = None


def _draw(job: RunJob, trace: Trace, sim: Simulation) -> dict[str, str | list[str]]:
    renderer = studio(sim.road_map, job.scenario.look, VIDEO_CAMERA, job.backend)
    job.folder.mkdir(parents=True, exist_ok=True)

    def picture(state: WorldState) -> U8:
        return renderer.render(state)[VIDEO_CAMERA.name]

    film = Film(trace=trace, road_map=sim.road_map, route=sim.route, camera=VIDEO_CAMERA, picture=picture, vehicle=sim.vehicle)
    write_film(job.folder / f"{job.stem}.mp4", film)
    (job.folder / f"{job.stem}.above.png").write_bytes(figures.trace_from_above(trace, sim.road_map, sim.route, sim.vehicle))
    (job.folder / f"{job.stem}.time.png").write_bytes(figures.over_time(trace, sim.route))
    names = []
    for i, share in enumerate(SHOWN):
        state = trace.states[round(share * (len(trace.states) - 1))]
        drawn = draw_path(film.picture(state), VIDEO_CAMERA, state.ego, plan_at(trace.plans, state.stamp_ns), state.stamp_ns)
        names.append(f"{job.stem}.{i}.jpg")
        (job.folder / names[-1]).write_bytes(jpeg(drawn))
    return {"video": f"{job.stem}.mp4", "above": f"{job.stem}.above.png", "time": f"{job.stem}.time.png", "frames": names}


def jpeg(rgb: U8, quality: int = 85) -> bytes:
    """A picture (H, W, 3) as JPEG bytes."""
    ok, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert ok
    return data.tobytes()


def lost_run(job: RunJob, reason: str, trace: str = "") -> Run:
    """The record of a run that ended with an error, or whose process died."""
    return Run(
        suite=job.suite,
        split=job.split,
        kind=job.kind,
        suite_sha256=job.suite_sha256,
        score=failed(job.scenario.name, job.driver, reason),
        media={},
        trace=trace,
        made_with=job.made_with,
    )


def write_run(path: Path, run: Run) -> None:
    """Write a run's JSON; it appears under its name only when it is complete."""
    values = {
        "format": FORMAT,
        "suite": run.suite,
        "split": run.split,
        "kind": run.kind,
        "suite_sha256": run.suite_sha256,
        "score": run.score.to_dict(),
        "media": run.media,
        "trace": run.trace,
        "made_with": dict(run.made_with),
    }
    write_json(path, values)


def write_json(path: Path, values: Any) -> None:
    """Plain values as JSON, all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(values, indent=1), encoding="utf-8")
    os.replace(part, path)


def read_run(path: Path) -> Run:
    """The inverse of `write_run`. Raises InputError on a file that this version did not write."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT:
            raise InputError(f"{path}: got another format than {FORMAT}, expected this version's: remove the file, or choose another folder")
        return Run(**{**values, "score": RunScore.from_dict(values["score"])})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: {type(error).__name__}: {error}; expected a run's JSON: remove the file") from error


def _card_sha256(model: Path) -> str:
    """Of a model's card, which names the model by a digest of its weights."""
    try:
        return hashlib.sha256((model / "model.yaml").read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"--model: got {model}, expected a model directory with a model.yaml ({error.strerror})") from error


def check_drivers(names: Sequence[str], model: Path | None = None) -> None:
    """Raises ConfigError on a driver that cannot be made, or none at all. `model` is what `vavam` drives by."""
    if not names:
        raise ConfigError("--driver: got none, expected one or more")
    for name in names:
        if name not in MODEL_DRIVERS:
            make(name)
        elif model is None:
            raise ConfigError(f"driver {name}: got no model, expected a model directory: --model DIR")
        elif not (model / "model.yaml").is_file():
            raise ConfigError(f"--model: got {model}, expected a model directory with a model.yaml")


def direct_model(driver: str, model: Path | None, frames: int = 0, planner: tuple[str, ...] = ()) -> DirectModel | None:
    """The model of a driver that drives without its nodes; None for any other."""
    return DirectModel(model=model.resolve(), frames=frames, planner=planner) if driver == DIRECT and model is not None else None


def made_direct(direct: DirectModel) -> Driver:
    """The driver. Raises ArtifactError, and ConfigError on frames or planner settings that are not the model's."""
    return make(DIRECT, model=direct.model, frames=direct.frames or None, planner=direct.planner)


def live_system(driver: str, model: Path | None, latency_ticks: int = 0, planner: Sequence[str] = ()) -> LiveSystem | None:
    """The live nodes of a driver; None for one that drives in this process. Raises ConfigError on a setting of the planner that cannot be."""
    if driver != MODEL_DRIVER or model is None:
        return None
    arguments = {"world_latency_s": str(latency_ticks * TICK_S)} if latency_ticks else {}
    for text in as_set(planner):
        name, _, value = text.partition("=")
        if name not in LIVE_SETTINGS:
            raise ConfigError(f"planner: got {text} for driver {driver}, expected some of {', '.join(LIVE_SETTINGS)}; the others are of {DIRECT} alone")
        arguments |= dict.fromkeys(LIVE_SETTINGS[name], value)
    if planner and checked_settings(planner, read_card(model).spec.frame_dt_s)[0].samples > MOST_SAMPLES:
        raise ConfigError(f"planner: got {' '.join(as_set(planner))} for driver {driver}, expected samples of at most {MOST_SAMPLES}, the nodes' limit")
    return LiveSystem(model=model.resolve(), arguments=arguments)
