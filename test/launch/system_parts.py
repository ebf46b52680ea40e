"""What tests of bring-up read out of a system: its processes by name, and their remapped topics."""

from __future__ import annotations

from vavam_ros.bringup_data import Process, System


def remaps(process: Process) -> dict[str, str]:
    return dict(process.remappings)


def by_name(system: System) -> dict[str, Process]:
    return {process.name: process for process in system.processes}
