"""Bring-up data as launch actions: what `launch/*.launch.py` share. Imported by `ros2 launch` only."""

from __future__ import annotations

import os
import sys
from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from vavam_ros.bringup import SYSTEMS
from vavam_ros.bringup_data import GRACE_S, PACKAGE, Declaration, Process, System


def describe(name: str) -> LaunchDescription:
    """The launch description of the system of this name."""
    declaration = SYSTEMS[name]
    declared = [
        DeclareLaunchArgument(a.name, default_value=a.default, description=a.description, choices=list(a.choices) or None) for a in declaration.arguments
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=_start, args=[declaration])])


def _start(context: LaunchContext, declaration: Declaration) -> list[LaunchDescriptionEntity]:
    values = {argument.name: LaunchConfiguration(argument.name).perform(context) for argument in declaration.arguments}
    return actions(declaration.build(values))


def actions(system: System) -> list[LaunchDescriptionEntity]:
    """The environment, then one node action per process."""
    environment = system.environment_beside(os.environ)
    return [*(SetEnvironmentVariable(name, value) for name, value in environment.items()), *(_node(process) for process in system.processes)]


def _node(process: Process) -> Node:
    # Typed: launch_ros reads an untyped text as YAML, and "1e3" or "on" would change their type.
    values = {name: ParameterValue(value, value_type=type(value)) for name, value in process.parameters.items()}
    program: dict[str, Any] = {"package": PACKAGE, "executable": process.executable}
    if process.python_module:  # another package's: run by this Python; launch_ros takes an executable without a package for a path
        program = {"executable": sys.executable, "arguments": ["-m", process.module]}
    return Node(
        **program,
        name=process.node_name,
        namespace=process.namespace,
        parameters=[*process.parameter_files, values],
        remappings=list(process.remappings),
        ros_arguments=["--log-level", process.log_level],
        output="screen",
        sigterm_timeout=str(GRACE_S),
        sigkill_timeout=str(GRACE_S),
        on_exit=[Shutdown(reason=f"{process.name} has ended")],
    )
