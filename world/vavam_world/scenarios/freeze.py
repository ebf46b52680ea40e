"""`python -m vavam_world.scenarios.freeze`: picks the places on curved roads and the vehicles to follow anew, and writes the hashes of all suites.

Only for an intended change: results from before and after are not comparable."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from vavam_world.scenarios.places import LEADS, PICKED, leads, pick, pick_lead, picked
from vavam_world.scenarios.suites import BEYOND_M, CURVE_MEET_S, FROZEN, GROUPS, SPLITS, SUITES, Split, curve_cruise_mps, numbered, suite


def pick_places(split: Split) -> dict[str, tuple[int, float]]:
    """Places of all safety scenarios on curved roads of a split: name → (route seed, meet_s_m)."""
    found = {}
    for name in GROUPS["safety"]:
        for seed, _, title in numbered(name, split):
            if title.startswith(f"{name}/curve/"):
                cruise = curve_cruise_mps(seed)
                place = pick(seed, CURVE_MEET_S[0] * cruise, CURVE_MEET_S[1] * cruise, BEYOND_M)
                found[f"{title}@{split}"] = (place.route_seed, place.meet_s_m)
    return found


def _write(path: Path, values: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    part.write_text("{\n" + ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in values.items()) + "\n}\n", encoding="utf-8")
    os.replace(part, path)


def main() -> None:
    """Write the three files."""
    _write(LEADS, {})
    leads.cache_clear()
    suite.cache_clear()
    _write(LEADS, {f"{s.name}@{split}": pick_lead(s) for split in SPLITS for s in suite("following", split).scenarios})
    leads.cache_clear()
    _write(PICKED, {name: place for split in SPLITS for name, place in pick_places(split).items()})
    picked.cache_clear()
    suite.cache_clear()
    _write(FROZEN, {f"{name}/{split}": suite(name, split).sha256 for name in SUITES for split in SPLITS})


if __name__ == "__main__":
    main()
