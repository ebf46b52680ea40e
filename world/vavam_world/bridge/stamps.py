"""Stamps and headers, without the nodes' converters: those bring torch along, and the world starts in a third of the time without it."""

from __future__ import annotations

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from vavam_ros.core.contracts import NS_PER_S


def stamp_ns(header: Header) -> int:
    """Header stamp in integer nanoseconds; 0 for an empty one."""
    return int(header.stamp.sec) * NS_PER_S + int(header.stamp.nanosec)


def time_msg(ns: int) -> Time:
    """builtin_interfaces/Time of integer nanoseconds."""
    return Time(sec=ns // NS_PER_S, nanosec=ns % NS_PER_S)


def header_msg(ns: int, frame_id: str) -> Header:
    """std_msgs/Header."""
    return Header(stamp=time_msg(ns), frame_id=frame_id)
