"""From nothing to a model that drives the built-in world, with one command: make train-small [ARGS="--fast"].

Each step leaves what it made in OUT and is skipped, or goes on where it was, when the command is started again: kill it whenever you like.

    1 look     world record, with semantic classes        pictures for the tokenizer
    2 tokenizer                                           runs/world/tokenizer.yaml
    3 drive    world record                               the expert's drives, with recoveries
      meet     world record --intruders 1 --sight-m 24 55 short drives in which someone gets in the way and is seen late, and junctions
    4 tokens   vavam-train data import                    drives → tokens with poses
    5 action   vavam-train train                          runs/world/action.yaml: video model and action expert together, on windows of two frames
    6 led      world record --lead-in                     that model drives first, the expert puts right what came of it
    7 corrected                                           runs/world/corrected.yaml: goes on with all drives
    8 advice   world record --advised                     that model drives to the end, and the expert says at each picture what it would do: meetings
                                                          passed at a wider berth, junctions and towns
    9 advised                                             runs/world/advised.yaml: goes on with all of it
   10 again    world record --advised                     meetings once more, where that model gets to, passed at a wider berth still
      looks    vavam-train data import --looks            all meetings with advice in another light, as a second set of tokens
   11 four_frames                                         runs/world/four_frames.yaml: goes on with windows of four frames
   12 export                                              OUT/model: what the nodes load
   13 evaluate world evaluate --driver vavam_direct       (--evaluate)

Two environments are needed, .venv (world, ROS) and .venv-training: `make setup setup-training`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vavam_training.loop.precision import fastest_precision
from vavam_training.recipe import read_recipe

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "training" / "runs" / "world"
WORLD, VAVAM_TRAIN = ROOT / ".venv" / "bin" / "world", ROOT / ".venv-training" / "bin" / "vavam-train"
CLASSES = "/carla/ego_vehicle/semantic_front/image/compressed"
ROS_LEFTOVERS = ("_ROS_WHEELS_BOOTSTRAP_COMPLETE", "LD_LIBRARY_PATH")
COMMAND_RULE = "lookahead"  # looks 20 m ahead whatever the speed: a vehicle that waits at a junction has a command, too
GOES_ON = 75


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much of everything."""

    looks: int  # short drives with classes
    hours: float  # of driving: half of it drives, the rest in equal parts meetings and what the first model began; three quarters as much again with advice
    steps: dict[str, int]  # of each stage; 0: the recipe's


FULL = Size(looks=120, hours=10.0, steps={})
FAST = Size(looks=6, hours=0.1, steps={"tokenizer": 60, "action": 20, "corrected": 10, "advised": 10, "four_frames": 10})
MEETINGS = ("crossroads", "fog", "industrial", "town")  # families left out of them: held out for tests, and towns, which are long
ADVICE_OPTION = ("--option", "advice_topic=/world/expert/path")
PLANNER = ("--planner", "plan_rate_hz=10", "selection=cautious")  # how `world demo` drives with it
ROADS_ALONE = ("crossroads", "fog", "industrial", "straight", "curves")  # left out of advice at junctions
PARTS = {"tokenizer": 0, "action": 1, "corrected": 3, "advised": 5, "four_frames": 8}  # of each recipe's data; the tokenizer's has pictures instead


def main() -> int:
    """0 when the model is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/world"), help="folder of everything (default %(default)s)")
    parser.add_argument("--fast", action="store_true", help="minutes instead of hours, to see the way; such a model does not drive")
    parser.add_argument("--hours", type=float, help=f"of driving to learn from (default {FULL.hours:g})")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that record and train (default %(default)s)")
    parser.add_argument("--evaluate", metavar="SUITE", nargs="*", help="then drive these suites of `world evaluate` (none named: all)")
    args = parser.parse_args()
    size = FAST if args.fast else FULL
    hours = args.hours or size.hours
    out = args.out.resolve()
    for tool in (WORLD, VAVAM_TRAIN):
        if not tool.exists():
            print(f"{tool} is missing: make setup setup-training", file=sys.stderr)
            return 2
    started = time.monotonic()
    workers = str(args.workers)
    _do("look", [WORLD, "record", "--drives", str(size.looks), "--seconds", "20", "--seed", "1", "--image-hz", "1", "--labels", "--perturb",
        "--workers", workers, "--out", out / "looks"])  # fmt: skip
    pictures = ["--path", out / "looks", "--camera", "world_front_256", "--option", f"label_topic={CLASSES}", "--out", out / "pictures"]
    _do("pictures", [VAVAM_TRAIN, "data", "pictures", *pictures])
    _train("tokenizer", args.workers, out, size, [f"data.pictures=[{out / 'pictures'}]"])
    met: list[str | Path] = ["--seconds", "60", "--intruders", "1", "--sight-m", "24", "55", "--exclude", *MEETINGS]
    export: list[str | Path] = [VAVAM_TRAIN, "export", "--tokenizer", out / "tokenizer", "--stored", "float16", "--command-rule", COMMAND_RULE]
    _record("drive", "tokens", hours / 2, ["--seconds", "90", "--seed", "10"], args.workers, out)
    _record("meet", "meeting_tokens", hours / 4, [*met, "--seed", "12"], args.workers, out)
    data = [f"data.parts.0.path={out / 'tokens'}", f"tokenizer={out / 'tokenizer'}"]
    _train("action", args.workers, out, size, data)
    _do("draft", [*export, "--run", out / "action", "--out", out / "draft"])
    _record("led", "led_tokens", hours / 4, [*met, "--seed", "13", "--lead-in", out / "draft"], args.workers, out)
    more = [f"data.parts.1.path={out / 'meeting_tokens'}", f"data.parts.2.path={out / 'led_tokens'}", f"start={out / 'action'}"]
    _train("corrected", args.workers, out, size, [*data, *more])
    _do("second_draft", [*export, "--run", out / "corrected", "--out", out / "second_draft"])
    advised: list[str | Path] = ["--advised", out / "second_draft"]
    late: list[str | Path] = ["--seconds", "60", "--intruders", "1", "--at-bends", "--in-picture", "--sight-m", "42", "58"]
    late += ["--exclude", *MEETINGS, "t_junction", "--intruder-kinds", "stationary", "frontal", "frontal", "side"]
    _record("advised_meetings", "advised_meeting_tokens", hours / 4, [*late, "--berth-m", "1.0", "--seed", "14", *advised], args.workers, out)
    junctions: list[str | Path] = ["--seconds", "25", "--exclude", *ROADS_ALONE]
    _record("advised_junctions", "advised_junction_tokens", hours / 4, [*junctions, "--seed", "15", *advised], args.workers, out)
    advice = [f"data.parts.3.path={out / 'advised_meeting_tokens'}", f"data.parts.4.path={out / 'advised_junction_tokens'}", f"start={out / 'corrected'}"]
    _train("advised", args.workers, out, size, [*data, *more[:2], *advice])
    _do("third_draft", [*export, "--run", out / "advised", "--out", out / "third_draft"])
    again: list[str | Path] = [*late, "side", "--berth-m", "1.2", "--seed", "16", "--advised", out / "third_draft"]
    _record("advised_again", "advised_again_tokens", hours / 4, again, args.workers, out)
    for seed, name in enumerate(("advised_meetings", "advised_again"), 1):
        _import(name, f"{name}_looks", args.workers, out, ["--looks", str(seed), *ADVICE_OPTION])
    looks = [f"data.parts.{5 + i}.path={out / name}" for i, name in enumerate(("advised_again_tokens", "advised_meetings_looks", "advised_again_looks"))]
    _train("four_frames", args.workers, out, size, [*data, *more[:2], *advice[:2], *looks, f"start={out / 'advised'}"])
    _do("export", [*export, "--run", out / "four_frames", "--out", out / "model"])
    print(f"the model is in {out / 'model'}, {(time.monotonic() - started) / 3600:.2f} h after the command. Drive it:")
    print(f'make demo ARGS="--model {out / "model"}"')
    if args.evaluate is not None:
        suites = ["--suite", ",".join(args.evaluate) or "all"]
        _do("evaluate", [WORLD, "evaluate", "--driver", "vavam_direct", "--model", out / "model", *PLANNER, *suites, "--out", out / "evaluation"])
    return 0


def _record(name: str, tokens: str, hours: float, how: list[str | Path], workers: int, out: Path) -> None:
    """So much driving, and its tokens."""
    record: list[str | Path] = [WORLD, "record", "--hours", f"{hours:g}", "--image-hz", "2", "--command-rule", COMMAND_RULE]
    advised = "--advised" in how  # what its model does is enough of a disturbance
    record += [] if advised else ["--perturb"]
    _do(name, [*record, *how, "--workers", str(workers), "--out", out / name])
    _import(name, tokens, workers, out, ADVICE_OPTION if advised else [])


def _import(name: str, tokens: str, workers: int, out: Path, how: Sequence[str | Path]) -> None:
    """The tokens of these drives."""
    arguments: list[str | Path] = ["--path", out / name, "--tokenizer", out / "tokenizer", "--out", out / tokens]
    arguments += ["--name", tokens if "--looks" in how else name]
    _do(tokens, [*_processes(workers), "data", "import", *arguments, *how])


def _processes(count: int) -> list[str | Path]:
    """vavam-train in so many processes."""
    if count < 2:
        return [VAVAM_TRAIN]
    return [VAVAM_TRAIN.with_name("torchrun"), "--standalone", f"--nproc-per-node={count}", "-m", "vavam_training.cli.main"]


def _train(stage: str, workers: int, out: Path, size: Size, changes: list[str]) -> None:
    """One stage by its recipe; told to stop, it goes on with the next call."""
    player = "generator" if stage == "tokenizer" else "model"
    changes = [*changes, "loop.workers=0", f"loop.precision={fastest_precision(convolutions=stage == 'tokenizer')}"]
    if steps := size.steps.get(stage, 0):
        schedule = f"loop.players.{player}.schedule"
        changes += [f"loop.steps={steps}", f"{schedule}.total_steps={steps}", f"{schedule}.warmup_steps=5", f"{schedule}.drop_steps={steps // 3}"]
        changes += [f"loop.{every}={steps}" for every in ("held_out_every", "pictures_every", "save_every")]
        changes += [f"data.whole_from_step={steps // 2}", "options.quantize_from=20"] if stage == "tokenizer" else []
        changes += [f"data{part}.held_out_share=0.3" for part in [f".parts.{i}" for i in range(PARTS[stage])] or [""]]
    arguments: list[str | Path] = ["train", RUNS / f"{stage}.yaml", "--out", str(out / stage)]
    batch = read_recipe(RUNS / f"{stage}.yaml").loop.batch_size
    processes = max(n for n in range(1, workers + 1) if batch % n == 0)  # each takes an equal part of a batch
    stopped = out / f"{stage}.stopped"  # torchrun makes a 1 of the status of a run that was told to stop
    stopped.unlink(missing_ok=True)
    _do(stage, [*_processes(processes), *arguments, "--stopped", stopped, *(x for c in changes for x in ("--set", c))], stopped)


def _do(name: str, command: list[str | Path], stopped: Path | None = None) -> None:
    """Run a step; ends the program with its status where it fails, 75 where it was told to stop. `stopped`: a file that says so, too."""
    print(f"── {name}", flush=True)
    environment = {k: v for k, v in os.environ.items() if k not in ROS_LEFTOVERS} | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    begun = time.monotonic()
    status = subprocess.run([str(c) for c in command], env=environment, cwd=ROOT, check=False).returncode
    if status:
        status = GOES_ON if stopped is not None and stopped.exists() else status
        said = "was told to stop; the same command goes on" if status == GOES_ON else f"ended with status {status}"
        print(f"{name} {said}", file=sys.stderr)
        sys.exit(status)
    print(f"── {name}: {(time.monotonic() - begun) / 60:.1f} min", flush=True)


if __name__ == "__main__":
    sys.exit(main())
