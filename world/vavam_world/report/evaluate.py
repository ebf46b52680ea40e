"""An evaluation: drivers × scenarios in parallel processes, one JSON per run, tables, one page. What is there already is not driven again."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from vavam_ros.core.contracts import ConfigError, InputError
from vavam_world.contracts import Backend, Scenario
from vavam_world.drivers import DIRECT, make
from vavam_world.drivers.model_driver import as_set
from vavam_world.drivers.shown import Shown
from vavam_world.render.panda import open_pipe
from vavam_world.report.page import Evaluation, write_page
from vavam_world.report.run import (
    MODEL_DRIVER,
    MODEL_DRIVERS,
    Media,
    Run,
    RunJob,
    check_drivers,
    close_studio,
    direct_model,
    do_nothing,
    do_run,
    live_system,
    lost_run,
    made_direct,
    read_run,
    write_json,
    write_run,
)
from vavam_world.scenarios.suites import Suite, check_frozen
from vavam_world.scoring.ncap import group_of, ncap_table
from vavam_world.scoring.routes import route_table
from vavam_world.workers import Failure, run_jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """How to evaluate. `limit`: scenarios of each suite (of each kind of road, for safety), spread over it; 0 for all."""

    out: Path
    limit: int = 0
    workers: int = 2
    media: Media = "all"
    backend: Backend = "auto"
    latency_ticks: int = 0
    model: Path | None = None  # of the drivers `vavam` and `vavam_direct`
    frames: int = 0  # longest context of `vavam_direct`; 0: the model's
    planner: tuple[str, ...] = ()  # settings of the planner, as in samples=16
    pictures: Shown = "as_taken"  # what drivers in this process are shown

    def __post_init__(self) -> None:
        for name, value in (("--limit", self.limit), ("--latency-ticks", self.latency_ticks), ("--frames", self.frames)):
            if value < 0:
                raise ConfigError(f"{name}: got {value}, expected 0 or more")


def limited(scenarios: Sequence[Scenario], limit: int) -> tuple[Scenario, ...]:
    """`limit` scenarios of each group (`stationary/curve`, or a whole route suite), evenly spread, in order; all where it is 0."""
    if limit <= 0:
        return tuple(scenarios)
    groups: dict[str, list[Scenario]] = {}
    for s in scenarios:
        groups.setdefault(group_of(s.name) if s.intruder is not None else "", []).append(s)
    return tuple(g[i] for g in groups.values() for i in np.unique(np.linspace(0, len(g) - 1, min(limit, len(g))).round().astype(int)))


def evaluate(drivers: Sequence[str], suites: Sequence[Suite], config: EvaluateConfig) -> Evaluation:
    """Run what is missing, then write evaluation.json and index.html.

    Raises ConfigError on an unknown driver or a suite that is not the frozen one, WorldError where pictures are needed and nothing can be drawn."""
    check_drivers(drivers, config.model)
    if config.planner and not set(drivers) & set(MODEL_DRIVERS):
        named = ", ".join(drivers)
        raise ConfigError(f"--planner {' '.join(config.planner)}: got drivers {named}, expected one of {' or '.join(MODEL_DRIVERS)}, whose planner it sets")
    if config.pictures != "as_taken" and MODEL_DRIVER in drivers:
        raise ConfigError(f"--pictures {config.pictures}: got driver {MODEL_DRIVER}, expected drivers of this process: live nodes see what the world draws")
    if config.media != "none" or DIRECT in drivers or any(d not in MODEL_DRIVERS and make(d).needs_image for d in drivers):
        open_pipe(config.backend)
    if DIRECT in drivers and (model := direct_model(DIRECT, config.model, config.frames, config.planner)):
        made_direct(model)  # what it cannot be made of is said now, not once a run
    hashes = {f"{s.name}/{s.split}": check_frozen(s) for s in suites}
    for key, value in hashes.items():
        print(f"suite {key}: sha256 {value}")
    live = {d: live_system(d, config.model, config.latency_ticks, config.planner) for d in drivers}
    direct = {d: direct_model(d, config.model, config.frames, config.planner) for d in drivers}
    jobs = [
        RunJob(
            scenario=scenario,
            suite=s.name,
            split=s.split,
            kind=s.kind,
            suite_sha256=hashes[f"{s.name}/{s.split}"],
            driver=driver,
            folder=config.out / "runs" / driver / f"{s.name}-{s.split}",
            media=config.media,
            always_show=i == 0,
            backend=config.backend,
            latency_ticks=config.latency_ticks,
            live=live[driver],
            direct=direct[driver],
            pictures=config.pictures,
        )
        for driver in drivers
        for s in suites
        for i, scenario in enumerate(limited(s.scenarios, config.limit))
    ]
    try:
        references = _references(jobs, suites, config)
        runs = _runs(jobs, config)
    finally:
        close_studio()  # where the runs were driven in this process
    evaluation = _tables(drivers, hashes, [(job.folder, run) for job, run in zip(jobs, runs, strict=True)], references, config)
    write_json(config.out / "evaluation.json", _plain(evaluation, references))
    write_page(config.out / "index.html", evaluation)
    return evaluation


def _on_disk(job: RunJob) -> Run | None:
    """The run as it is on disk, where it was not lost to an error."""
    if not job.path.exists():
        return None
    try:
        run = read_run(job.path)
    except InputError as error:
        print(f"{error}; driven again", file=sys.stderr)
        return None
    return None if run.trace else run


def _runs(jobs: Sequence[RunJob], config: EvaluateConfig) -> list[Run]:
    there = [(job, run) for job in jobs if (run := _on_disk(job)) is not None]
    done = {job.path: run for job, run in there if run.suite_sha256 == job.suite_sha256 and run.made_with == job.made_with}
    if len(done) < len(there):
        differs = "are of another suite, model, latency, backend, planner, context or pictures: driven again"
        print(f"{len(there) - len(done)} runs in {config.out} {differs}", file=sys.stderr)
    todo = [job for job in jobs if job.path not in done]
    if done:
        print(f"{len(done)} of {len(jobs)} runs are in {config.out} already: skipped")
    lost = 0
    with closing(run_jobs(do_run, todo, min(config.workers, len(todo)))) as results, tqdm(total=len(todo), unit="run", disable=None) as bar:
        for job, result in results:
            if isinstance(result, Failure):
                lost += 1
                result_run = lost_run(job, result.reason, result.trace or result.reason)
                write_run(job.path, result_run)
                tqdm.write(f"{job.driver} {job.scenario.name}: {result.reason}", file=sys.stderr)
            else:
                result_run = result
            done[job.path] = result_run
            bar.set_postfix_str(f"{job.driver} {job.scenario.name}", refresh=False)
            bar.update()
    if lost:
        print(f"{lost} runs ended with an error: they count as driver_error, and are driven again next time", file=sys.stderr)
    return [done[job.path] for job in jobs]


def _references(jobs: Sequence[RunJob], suites: Sequence[Suite], config: EvaluateConfig) -> dict[str, float | None]:
    """Impact speed of doing nothing per safety scenario, kept per suite."""
    found: dict[str, float | None] = {}
    for s in (s for s in suites if s.kind == "safety"):
        path = config.out / "do_nothing" / f"{s.name}-{s.split}.json"
        sha256 = check_frozen(s)
        known = _read_references(path, sha256)
        wanted = {job.scenario.name: job for job in jobs if job.suite == s.name and job.split == s.split}
        todo = [replace(job, media="none") for name, job in wanted.items() if name not in known]
        with closing(run_jobs(do_nothing, todo, min(config.workers, len(todo)))) as results:
            for job, result in tqdm(results, total=len(todo), desc=f"do nothing, {s.name}", unit="run", disable=None if todo else True):
                if isinstance(result, Failure):
                    raise InputError(f"do-nothing run of {job.scenario.name}: {result.reason}\n{result.trace}")
                known[job.scenario.name] = result
        if todo:
            write_json(path, {"suite_sha256": sha256, "impact_mps": known})
        found.update({name: known[name] for name in wanted})
    return found


def _read_references(path: Path, sha256: str) -> dict[str, float | None]:
    if not path.exists():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return dict(values["impact_mps"]) if values["suite_sha256"] == sha256 else {}
    except (ValueError, KeyError, TypeError) as error:
        print(f"{path}: {type(error).__name__}: {error}; driven again", file=sys.stderr)
        return {}


def _tables(
    drivers: Sequence[str], hashes: dict[str, str], runs: list[tuple[Path, Run]], references: dict[str, float | None], config: EvaluateConfig
) -> Evaluation:
    def of(driver: str, kind: str) -> list[Any]:
        return [run.score for _, run in runs if run.score.driver == driver and run.kind == kind]

    missed = sorted(name for name, v in references.items() if v is None)
    banners = [f"In {len(missed)} scenarios doing nothing collides with nobody, and braking earns nothing there: {', '.join(missed[:5])}"] if missed else []
    if config.limit:
        banners.append(f"A part of the suites: {config.limit} scenarios of each kind. The whole suite is what its hash stands for.")
    return Evaluation(
        settings={
            "limit": str(config.limit or "none"),
            "latency": f"{0.05 * config.latency_ticks:.2f} s",
            "backend": config.backend,
            **({"pictures": config.pictures} if config.pictures != "as_taken" else {}),
            **({"context": f"{config.frames} frames at most"} if config.frames else {}),
            **({"planner": " ".join(as_set(config.planner))} if config.planner else {}),
            **versions(),
        },
        suites=hashes,
        drivers=tuple(drivers),
        runs=runs,
        routes={d: route_table(of(d, "route")) for d in drivers},
        safety={d: ncap_table(of(d, "safety"), references) for d in drivers},
        banners=tuple(banners),
    )


def versions() -> dict[str, str]:
    """What the results depend on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("vavam_world", "vavam_ros", "panda3d", "numpy", "shapely", "opencv-python-headless"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def _plain(evaluation: Evaluation, references: dict[str, float | None]) -> dict[str, Any]:
    return {
        "settings": dict(evaluation.settings),
        "suites": dict(evaluation.suites),
        "drivers": list(evaluation.drivers),
        "banners": list(evaluation.banners),
        "routes": {d: [asdict(r) for r in rows] for d, rows in evaluation.routes.items()},
        "safety": {d: [asdict(r) for r in rows] for d, rows in evaluation.safety.items()},
        "do_nothing_impact_mps": references,
        "runs": [{"suite": r.suite, "split": r.split, "failure": r.failure, **r.score.to_dict()} for _, r in evaluation.runs],
    }


def text_tables(evaluation: Evaluation) -> str:
    """The tables for a terminal."""
    lines = []
    if any(evaluation.routes.values()):
        lines.append(
            f"{'routes':<14}{'driver':<20}{'runs':>5} {'success':>19} {'complete':>9} {'at fault':>9} {'off road':>9} {'wrong':>6} {'lost s':>7} {'turns':>7}"
        )
        for driver, rows in evaluation.routes.items():
            for r in rows:
                m = r.measures
                s = m["success"]
                lines.append(
                    f"{r.name:<14}{driver:<20}{s.n:>5} {s.mean:>6.1%} [{s.low:.0%}, {s.high:.0%}]".ljust(60)
                    + f"{m['completion'].mean:>8.1%} {m['at_fault'].mean:>9.1%} {m['off_road'].mean:>9.1%} {m['wrong_lane'].mean:>6.1%} "
                    + f"{m['time_lost_s'].mean:>7.1f} {r.turns[0]:>3}/{r.turns[1]}"
                )
    if any(evaluation.safety.values()):
        lines.append(f"{'safety':<22}{'driver':<20}{'runs':>5} {'NeuroNCAP score':>20} {'collision rate':>22}")
        for driver, ncap_rows in evaluation.safety.items():
            for n in ncap_rows:
                score = f"{n.score.mean:.2f} [{n.score.low:.2f}, {n.score.high:.2f}]"
                rate = f"{n.collision_rate.mean:.1%} [{n.collision_rate.low:.0%}, {n.collision_rate.high:.0%}]"
                lines.append(f"{n.name:<22}{driver:<20}{n.score.n:>5} {score:>20} {rate:>22}")
    return "\n".join(lines)
