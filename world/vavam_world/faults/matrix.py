"""All faults in all ways of running the nodes; the result as JSON and as a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vavam_ros.core.contracts import ConfigError
from vavam_world.faults.apart import bag_loop, nan_weights
from vavam_world.faults.cases import BY_NAME, CASES, SEEN_TICKS, Case
from vavam_world.faults.harness import Config, Outcome, play_all
from vavam_world.live.domain import own_domain

RESULT, TABLE = "faults.json", "faults.md"
BEGIN, END = "<!-- table: made by `world faults --table` -->", "<!-- end of the table -->"
CONFIGS = tuple(Config(compressed=c, composed=p) for c in (False, True) for p in (False, True))
APART: dict[str, Callable[[Path, Config, Path, int], Outcome]] = {"nan_weights": nan_weights, "bag_loop": bag_loop}


def chosen(names: Sequence[str]) -> tuple[Case, ...]:
    """Cases by name, in the order of the table; none named: all. Raises ConfigError."""
    if unknown := [n for n in names if n not in BY_NAME]:
        raise ConfigError(f"fault: got {', '.join(unknown)}, expected some of {', '.join(BY_NAME)}")
    return tuple(case for case in CASES if not names or case.name in names)


def run_matrix(model: Path, cases: Sequence[Case], configs: Sequence[Config], out: Path, done: Callable[[Outcome], None]) -> dict[str, Any]:
    """Try the cases, write the result after each configuration, and return it. A result that is in `out` already is added to: the worst run counts."""
    out.mkdir(parents=True, exist_ok=True)
    result = json.loads((out / RESULT).read_text(encoding="utf-8")) if (out / RESULT).is_file() else {"outcomes": []}
    for config in configs:
        folder = out / config.name.replace(", ", "_").replace(" ", "_")
        with own_domain() as domain:
            found = play_all(model, config, [c for c in cases if c.name not in APART], folder, domain, done)
            for case in cases:
                if case.name in APART and ("compressed" if config.compressed else "raw") in case.transports:
                    found.append(APART[case.name](model, config, folder, domain))
                    done(found[-1])
        result["outcomes"] = merged(result["outcomes"], [o.to_dict() for o in found])
        (out / RESULT).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        (out / TABLE).write_text(table(result), encoding="utf-8")
    return result


def merged(*outcomes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each fault in each configuration the worst outcome, with the number of runs: one with problems, else the one nearest to its limit."""
    worst: dict[tuple[object, ...], dict[str, Any]] = {}
    for outcome in (o for some in outcomes for o in some):
        key = outcome["case"], outcome["compressed"], outcome["composed"]
        before = worst.get(key)
        runs = outcome["runs"] + (before["runs"] if before else 0)
        kept = before if before is not None and _badness(before) > _badness(outcome) else outcome
        worst[key] = {**kept, "runs": runs}
    return list(worst.values())


def _badness(outcome: dict[str, Any]) -> tuple[int, float, float]:
    share = outcome["ticks"] / max(outcome["limit_ticks"], 1) if outcome["ticks"] is not None else -1.0
    return len(outcome["problems"]), share, outcome["stop_m"] or 0.0


def table(result: dict[str, Any]) -> str:
    """The result as markdown: a row per fault, a column per configuration."""
    by = {(o["case"], o["compressed"], o["composed"]): o for o in result["outcomes"]}
    heads = ["fault", "detection", "named as", "gate goes to", "limit", *(f"measured: {c.name}" for c in CONFIGS), "drives on"]
    rows = [heads, ["---"] * len(heads)]
    for case in CASES:
        cells = [_cell(case, config, by.get((case.name, config.compressed, config.composed))) for config in CONFIGS]
        codes = ", ".join(f"`{code}`" for code in case.codes) or "–"
        limit = case.formula if case.action in ("nan_weights", "bag_loop") else f"{case.formula} + {SEEN_TICKS} ticks"
        rows.append([f"`{case.name}`: {case.what}", case.detection, codes, " or ".join(case.reactions), limit, *cells, case.resumes])
    return "\n".join(f"| {' | '.join(text.replace('|', '/') for text in row)} |" for row in rows) + "\n"


def _cell(case: Case, config: Config, outcome: dict[str, Any] | None) -> str:
    if outcome is None:
        return "not run" if ("compressed" if config.compressed else "raw") in case.transports else "–"
    if outcome["problems"]:
        return "**failed**: " + "; ".join(outcome["problems"])[:200]
    if outcome["ticks"] is None or case.action in ("nan_weights", "bag_loop"):
        return str(outcome["reaction"])
    stop = f"; stands after {outcome['stop_m']:g} m, at most {outcome['stop_decel_mps2']:g} m/s²" if outcome["stop_m"] is not None else ""
    runs = f" (worst of {outcome['runs']})" if outcome["runs"] > 1 else ""
    return f"{outcome['reaction']} after {outcome['ticks']} of {outcome['limit_ticks']} ticks{stop}{runs}"


def into_page(page: Path, result: dict[str, Any]) -> None:
    """Put the table into a page, between its two marks. Raises ConfigError where it has none."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ConfigError(f"{page}: got no place for the table, expected the lines {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{table(result)}\n{END}{after}", encoding="utf-8")
