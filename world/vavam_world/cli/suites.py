"""`world suites`: the suites of scenarios, their sizes and hashes."""

from __future__ import annotations

import argparse

from vavam_world.scenarios.suites import SPLITS, SUITES, check_frozen, suite


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `world suites`."""
    parser.add_argument("--split", choices=SPLITS, action="append", help="only this split (may be given more than once)")
    parser.add_argument("--names", action="store_true", help="list every scenario too")


def run(args: argparse.Namespace) -> int:
    """0. Raises ConfigError where a suite is not the frozen one."""
    for name in SUITES:
        for split in args.split or SPLITS:
            found = suite(name, split)
            print(f"{name:<13} {split:<14} {found.kind:<7} {len(found.scenarios):>4} scenarios  sha256 {check_frozen(found)}")
            if args.names:
                for scenario in found.scenarios:
                    print(f"  {scenario.name}")
    return 0
