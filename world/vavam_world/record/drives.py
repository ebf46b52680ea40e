"""Recordings of the expert: bags from parallel processes, and a manifest that says what they are and lets an ended recording go on."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vavam_ros.core.artifact import read_card
from vavam_ros.core.contracts import ConfigError, InputError
from vavam_ros.core.planning.command import named_rule
from vavam_world.contracts import IMAGE_EVERY_TICKS, LABELS, TICK_S, WORLD_CAMERA, Backend, Driver, HasCommandRule, IntruderKind, Scenario, Vehicle
from vavam_world.drivers import DIRECT, make
from vavam_world.drivers.advised import Advised
from vavam_world.drivers.evasion import BERTH_M
from vavam_world.drivers.handed_over import HandedOver
from vavam_world.drivers.loop import COMMAND_RULE, drive
from vavam_world.drivers.model_driver import as_set, checked_settings
from vavam_world.record import bag
from vavam_world.render.panda import open_pipe
from vavam_world.report.evaluate import versions
from vavam_world.report.run import close_studio, studio, write_json
from vavam_world.roads import build_map
from vavam_world.scenarios.drives import INTRUDER_KINDS, INTRUDERS, PEDESTRIANS, advised, check_drives, drive_scenario, hand_over, sight_m
from vavam_world.sim.simulation import Simulation
from vavam_world.workers import Failure, run_jobs

FORMAT = 1
LICENCE = "Apache-2.0, as the code that generated them; nothing in them was filmed"
USABLE = ("route", "time")  # how a drive may end that is worth learning from
MANIFEST = "manifest.json"
IMAGE_HZ = round(1.0 / (IMAGE_EVERY_TICKS * TICK_S))
IMAGE_RATES_HZ = (10, 5, 4, 2, 1)
LOST_IN_A_ROW = 10  # errors; then it is not the drives, and with --hours there would be no end


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordConfig:
    """What to record: `drives` of at most `seconds` each, or as many as make `hours`; one of the two is 0."""

    out: Path
    drives: int = 0
    hours: float = 0.0
    seconds: float = 60.0
    seed: int = 0
    workers: int = 2
    labels: bool = False
    exclude: tuple[str, ...] = ()
    perturb: bool = False
    backend: Backend = "auto"
    image_hz: int = IMAGE_HZ
    command_rule: str = COMMAND_RULE
    intruders: float = INTRUDERS
    intruder_kinds: tuple[IntruderKind, ...] = INTRUDER_KINDS
    pedestrians: tuple[int, int] = PEDESTRIANS  # least and most of a drive where there are crosswalks
    at_bends: bool = False  # intruders on curved roads are met where the road bends
    sight_m: tuple[float, float] | None = None  # the driver sees others only so far, another draw between the two for each drive; None: everybody
    in_picture: bool = False  # and only who has been in the camera's picture
    berth_m: float = BERTH_M  # clearance that the driver wishes for beside whom it passes
    lead_in: Path | None = None  # a model directory: that model drives first for a while, and the recording begins where the expert takes over
    advised: Path | None = None  # a model directory: that model drives, and what the expert would do is recorded at each picture
    planner: tuple[str, ...] = ()  # settings of that model's planner, as in plan_rate_hz=10

    def __post_init__(self) -> None:
        if self.image_hz not in IMAGE_RATES_HZ:
            rates = ", ".join(map(str, IMAGE_RATES_HZ))
            raise ConfigError(f"recording: got {self.image_hz} pictures a second, expected one of {rates}: a whole number of ticks apart")
        named_rule(self.command_rule)
        check_drives(self.seed, self.seconds, self.exclude, intruders=self.intruders, intruder_kinds=self.intruder_kinds, pedestrians=self.pedestrians)
        if self.at_bends and ("curves" in self.exclude or self.intruders == 0.0):
            raise ConfigError("recording: got at_bends without intruders on curved roads, expected both, or neither")
        if self.pedestrians != PEDESTRIANS and not {"town", "t_junction", "crossroads"} - set(self.exclude):
            raise ConfigError("recording: got pedestrians without roads that have crosswalks, expected one of town, t_junction, crossroads not to be excluded")
        if self.sight_m is not None and not 0.0 < self.sight_m[0] <= self.sight_m[1] < math.inf:
            raise ConfigError(f"recording: got sight_m {self.sight_m}, expected two distances above 0, the shorter one first")
        if not 0.0 < self.berth_m < math.inf:
            raise ConfigError(f"recording: got berth_m {self.berth_m}, expected a distance above 0")
        if self.lead_in is not None and self.advised is not None:
            raise ConfigError("recording: got a model that leads in and one that is advised, expected one of the two")
        for model in (self.lead_in, self.advised):
            if model is not None:
                checked_settings(self.planner, read_card(model).spec.frame_dt_s)  # what cannot be loaded or set is named before anything is driven
        if self.planner and self.lead_in is None and self.advised is None:
            raise ConfigError(f"recording: got planner {' '.join(self.planner)} without a model, expected one that leads in or one that is advised")
        if (self.drives > 0) == (self.hours > 0.0) or self.drives < 0 or not math.isfinite(self.hours):
            raise ConfigError(f"recording: got {self.drives} drives and {self.hours:g} h, expected one of the two: --drives or --hours")

    @property
    def content(self) -> dict[str, Any]:
        """What decides what is in the bags; the rest may differ when a recording goes on."""
        content = {"seconds": self.seconds, "seed": self.seed, "labels": self.labels, "exclude": sorted(self.exclude), "perturb": self.perturb}
        content |= {"image_hz": self.image_hz} if self.image_hz != IMAGE_HZ else {}
        content |= {"intruders": self.intruders} if self.intruders != INTRUDERS else {}
        content |= {"intruder_kinds": list(self.intruder_kinds)} if self.intruder_kinds != INTRUDER_KINDS else {}
        content |= {"pedestrians": list(self.pedestrians)} if self.pedestrians != PEDESTRIANS else {}
        content |= {"at_bends": True} if self.at_bends else {}
        content |= {"sight_m": list(self.sight_m)} if self.sight_m is not None else {}
        content |= {"in_picture": True} if self.in_picture else {}
        content |= {"berth_m": self.berth_m} if self.berth_m != BERTH_M else {}
        content |= {"lead_in": read_card(self.lead_in).model_id} if self.lead_in is not None else {}
        content |= {"advised": read_card(self.advised).model_id} if self.advised is not None else {}
        content |= {"planner": list(as_set(self.planner))} if self.planner else {}
        return content | ({"command_rule": self.command_rule} if self.command_rule != COMMAND_RULE else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveJob:
    """One drive to record. Its scenario is made where it is driven: looking for a route needs the map, and so does driving it."""

    index: int
    make_scenario: Callable[[], Scenario]
    path: Path
    labels: bool
    backend: Backend
    image_hz: int = IMAGE_HZ
    command_rule: str = COMMAND_RULE
    sight_m: float = math.inf
    in_picture: bool = False
    berth_m: float = BERTH_M
    lead_in: Path | None = None
    advised: Path | None = None
    planner: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """One drive that was done. `file` is None where it is not worth learning from."""

    index: int
    file: str | None
    sha256: str
    bytes: int
    seconds: float
    pictures: int
    distance_m: float
    finished: str
    detail: str
    seed: int | None  # None where not even the scenario could be made
    scenario: dict[str, Any] | None
    sight_m: float | None = None  # of the driver; None: no limit
    lead_in_s: float = 0.0  # how long somebody else had driven before the first state in the bag
    advice: int = 0  # how many pictures have what the expert would have done


def record_drive(job: DriveJob) -> Drive:
    """Drive, then draw and write: in a worker process."""
    scenario, lead_in_s = job.make_scenario(), 0.0
    if job.lead_in is not None:
        lead_in_s, scenario = hand_over(scenario)
    if job.advised is not None:
        scenario = advised(scenario)
    first = round(lead_in_s / TICK_S)
    driver: Driver = make("expert", sight_m=job.sight_m, camera=WORLD_CAMERA if job.in_picture else None, berth_m=job.berth_m)
    options: dict[str, Any] = {}
    led: HandedOver | None = None
    asked: Advised | None = None
    if (directory := job.lead_in or job.advised) is not None:
        model = make(DIRECT, model=directory, planner=job.planner)
        if job.lead_in is not None:
            driver = led = HandedOver(model, driver, first)
        else:
            driver = asked = Advised(model, driver)
        options["renderer"] = studio(build_map(scenario.map), scenario.look, WORLD_CAMERA, job.backend)
        options |= {"command_rule": model.command_rule} if isinstance(model, HasCommandRule) else {}
    driven: list[Simulation] = []
    trace = drive(scenario, driver, on_tick=lambda sim, *_: None if driven else driven.append(sim), **options)
    if led is not None:
        first, lead_in_s = led.at_tick, round(led.at_tick * TICK_S, 2)
    trace = replace(trace, states=trace.states[first:])
    usable = (trace.finished in USABLE or (asked is not None and trace.finished != "driver_error")) and len(trace.states) > 1
    pictures, answers, digest, size = 0, 0, "", 0
    if usable:
        sim = driven[0]
        renderer = studio(sim.road_map, scenario.look, WORLD_CAMERA, job.backend)
        every = round(1.0 / (job.image_hz * TICK_S))
        written: dict[str, Any] = {"vehicle": sim.vehicle, "labels": job.labels, "image_every_ticks": every, "command_rule": job.command_rule}
        if asked is not None:
            written["advice"] = asked.advice
            answers = sum(s.tick % every == 0 and s.stamp_ns in asked.advice for s in trace.states)
        pictures = bag.write_drive(job.path, trace, sim.route, WORLD_CAMERA, renderer, **written)
        digest, size = sha256_of(job.path), job.path.stat().st_size
    way = [(s.ego.x_m, s.ego.y_m) for s in trace.states]
    return Drive(
        index=job.index,
        file=job.path.name if usable else None,
        sha256=digest,
        bytes=size,
        seconds=round(max(len(trace.states) - 1, 0) * TICK_S, 2),
        pictures=pictures,
        distance_m=round(sum(math.dist(a, b) for a, b in pairwise(way)), 1),
        finished=trace.finished,
        detail=trace.detail,
        seed=scenario.map.seed,
        scenario=scenario.to_dict(),
        sight_m=job.sight_m if math.isfinite(job.sight_m) else None,
        lead_in_s=lead_in_s,
        advice=answers,
    )


def sha256_of(path: Path) -> str:
    """Of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def record(config: RecordConfig) -> dict[str, Any]:
    """Record what is missing and return the manifest. One recording a folder at a time.

    Raises ConfigError where the folder holds a recording of other content, InputError where its manifest cannot be read or one drive after the
    other ends with an error, WorldError where nothing can be drawn."""
    config.out.mkdir(parents=True, exist_ok=True)
    known = _known(config)
    backend, _ = open_pipe(config.backend)
    for left in config.out.glob("*.partial*"):  # of processes that were killed
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    if known:
        print(f"{len(known)} drives are in {config.out} already: kept")
    started, before = time.monotonic(), _seconds(known)
    total = config.drives * config.seconds if config.drives else 3600.0 * config.hours
    lost = in_a_row = 0
    bar = tqdm(total=round(total), unit="s", desc="recorded", disable=None)
    with ExitStack() as open_until_the_end:
        open_until_the_end.callback(close_studio)  # where the drives were drawn in this process
        results = open_until_the_end.enter_context(closing(run_jobs(record_drive, _jobs(config, known), config.workers)))
        open_until_the_end.enter_context(bar)
        bar.update(round(before))
        for job, result in results:
            if isinstance(result, Failure):
                lost, in_a_row = lost + 1, in_a_row + 1
                tqdm.write(f"drive {job.index}: {result.reason}", file=sys.stderr)
                known[job.index] = _lost(job, result)
            else:
                in_a_row = 0
                known[job.index] = asdict(result)
                bar.update(round(result.seconds) if result.file else 0)
            _write(config, known, backend)
            if in_a_row == LOST_IN_A_ROW:
                raise InputError(f"recording: {in_a_row} drives in a row ended with an error, the last by {result}: put that right and start again")
    manifest = _write(config, known, backend)
    took = time.monotonic() - started
    new = _seconds(known) - before
    if new > 0.0:
        print(f"{new:.0f} s of driving in {took:.0f} s: {new / max(took, 1e-9):.1f} × real time with {max(config.workers, 1)} processes")
    if lost:
        print(f"{lost} drives ended with an error; {MANIFEST} says which", file=sys.stderr)
    return manifest


def _jobs(config: RecordConfig, known: dict[int, dict[str, Any]]) -> Iterator[DriveJob]:
    """Drives in order of their number; with --hours until enough was recorded when one is asked for."""
    index = 0
    while index < config.drives if config.drives else _seconds(known) < 3600.0 * config.hours:
        if index not in known:
            shown: dict[str, Any] = {"exclude": config.exclude, "perturb": config.perturb}
            shown |= {"intruders": config.intruders, "intruder_kinds": config.intruder_kinds, "at_bends": config.at_bends, "pedestrians": config.pedestrians}
            scenario = partial(drive_scenario, config.seed, index, seconds=config.seconds, **shown)
            path = config.out / f"drive-{index:06d}.mcap"
            options: dict[str, Any] = {"labels": config.labels, "backend": config.backend, "image_hz": config.image_hz, "command_rule": config.command_rule}
            options |= {"lead_in": config.lead_in, "advised": config.advised, "planner": config.planner}
            options |= {"in_picture": config.in_picture, "berth_m": config.berth_m}
            options |= {} if config.sight_m is None else {"sight_m": sight_m(config.seed, index, config.sight_m)}
            yield DriveJob(index=index, make_scenario=scenario, path=path, **options)
        index += 1


def _seconds(known: dict[int, dict[str, Any]]) -> float:
    return float(sum(d["seconds"] for d in known.values() if d["file"] is not None))


def _lost(job: DriveJob, failure: Failure) -> dict[str, Any]:
    nothing = Drive(
        index=job.index,
        file=None,
        sha256="",
        bytes=0,
        seconds=0.0,
        pictures=0,
        distance_m=0.0,
        finished="error",
        detail=failure.reason,
        seed=None,
        scenario=None,
    )
    return asdict(nothing)


def _known(config: RecordConfig) -> dict[int, dict[str, Any]]:
    """Drives of an earlier recording into this folder whose bags are there, whole."""
    path = config.out / MANIFEST
    if not path.exists():
        return {}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        content, drives = manifest["content"], manifest["drives"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: {type(error).__name__}: {error}; expected a recording's manifest: choose another folder") from error
    if content != config.content:
        raise ConfigError(f"{config.out}: got a recording of {content}, expected {config.content}: the same settings, or another folder")
    whole: dict[int, dict[str, Any]] = {}
    for entry in drives:
        file = None if entry["file"] is None else config.out / entry["file"]
        if entry["finished"] != "error" and (file is None or (file.exists() and file.stat().st_size == entry["bytes"])):
            whole[entry["index"]] = entry
    return whole


def _write(config: RecordConfig, known: dict[int, dict[str, Any]], backend: str) -> dict[str, Any]:
    drives = [known[i] for i in sorted(known)]
    kept = [d for d in drives if d["file"] is not None]
    ends: dict[str, int] = {}
    for d in drives:
        ends[d["finished"]] = ends.get(d["finished"], 0) + 1
    manifest = {
        "format": FORMAT,
        "licence": LICENCE,
        "content": config.content,
        "camera": asdict(WORLD_CAMERA),
        "backend": backend,  # of the drives recorded last; pictures differ between backends
        "rear_axle_x_m": -Vehicle().actor_origin_x_m,  # in the frame of the odometry
        "labels": dict(enumerate(LABELS)) if config.labels else None,
        "versions": versions(),
        "totals": {
            "drives": len(kept),
            "left_out": len(drives) - len(kept),
            "ends": ends,
            **({} if config.lead_in is None else {"led": sum(d["lead_in_s"] > 0.0 for d in kept)}),  # the others were the expert's from the start
            "seconds": round(sum(d["seconds"] for d in kept), 2),
            "pictures": sum(d["pictures"] for d in kept),
            "distance_m": round(sum(d["distance_m"] for d in kept), 1),
            "bytes": sum(d["bytes"] for d in kept),
        },
        "drives": drives,
    }
    write_json(config.out / MANIFEST, manifest)
    return manifest
