"""`world faults`: hurt a system that drives, fault by fault, and say what it did: JSON and a table."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tqdm import tqdm

from vavam_ros.core.contracts import ConfigError
from vavam_world.cli.checks import out_folder
from vavam_world.faults.cases import CASES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `world faults`."""
    parser.add_argument("--fault", nargs="*", default=[], metavar="NAME", help=f"only these, of {', '.join(c.name for c in CASES)}")
    parser.add_argument("--transport", default="raw,compressed", help="pictures: raw, compressed, or both (default %(default)s)")
    parser.add_argument("--processes", default="1,2", help="of tokenizer and planner: 1, 2, or both (default %(default)s)")
    parser.add_argument("--model", type=Path, help="a model directory (default: a tiny one that goes straight on, made in OUT in seconds)")
    parser.add_argument("--out", type=Path, required=True, help="folder for faults.json, faults.md and logs; results in it are added to: the worst run counts")
    parser.add_argument("--table", type=Path, metavar="PAGE", help="run nothing: put the table of OUT/faults.json into a page, between its marks")


def run(args: argparse.Namespace) -> int:
    """0 when every fault led to what is documented, else 1. Raises VavamError."""
    from vavam_world.faults.harness import Config
    from vavam_world.faults.matrix import RESULT, TABLE, chosen, into_page, run_matrix

    if args.table:
        if not (args.out / RESULT).is_file():
            raise ConfigError(f"--out: got {args.out} without {RESULT}, expected the folder of a run")
        into_page(args.table, json.loads((args.out / RESULT).read_text(encoding="utf-8")))
        return 0
    cases = chosen([name for text in args.fault for name in text.split(",") if name])
    transports, processes = _words(args.transport, ("raw", "compressed"), "--transport"), _words(args.processes, ("1", "2"), "--processes")
    configs = [Config(compressed=t == "compressed", composed=p == "1") for t in transports for p in sorted(processes, reverse=True)]
    out, model = out_folder(args.out), args.model
    if model and not (model / "model.yaml").is_file():
        raise ConfigError(f"--model: got {model}, expected a model directory with a model.yaml")
    count = sum(("compressed" if c.compressed else "raw") in case.transports for c in configs for case in cases)
    with tqdm(total=count, unit="fault", desc="faults", disable=None) as bar:

        def done(outcome: object) -> None:
            bar.update()
            if problems := getattr(outcome, "problems", []):
                tqdm.write(f"{getattr(outcome, 'case', '')}: {'; '.join(problems)}")

        result = run_matrix(model or _practice(out), cases, configs, out, done)
    wanted = {c.name for c in cases}
    failed = [o for o in result["outcomes"] if o["problems"] and o["case"] in wanted]
    print(f"{count} faults, {len(failed)} not as documented; {args.out / RESULT}, {args.out / TABLE}")
    return int(bool(failed))


def _words(text: str, known: tuple[str, ...], argument: str) -> list[str]:
    words = [w.strip() for w in text.split(",") if w.strip()]
    if not words or set(words) - set(known):
        raise ConfigError(f"{argument}: got {text!r}, expected {' or '.join(known)}, or both with a comma between")
    return words


def _practice(out: Path) -> Path:
    from vavam_world.live.practice_model import practice_artifact

    made = out / "practice_model"
    if not (made / "model.yaml").is_file():
        practice_artifact(made)
    return made
