"""Quality of service: profiles in one line, and why two sides do not match."""

from __future__ import annotations

from typing import Any

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy

OVERRIDABLE = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY)


def keep_last(depth: int, *, reliable: bool, latched: bool = False) -> QoSProfile:
    """The newest `depth` messages; `latched` is transient local."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def qos_mismatch(requested: QoSProfile, info: Any) -> dict[str, str] | None:
    """What of a publisher's QoS falls short of a request, with both sides; None when they match."""
    offered = info.qos_profile
    publisher = f"{info.node_namespace.rstrip('/')}/{info.node_name}"
    if requested.reliability == ReliabilityPolicy.RELIABLE and offered.reliability == ReliabilityPolicy.BEST_EFFORT:
        return {"publisher": publisher, "policy": "RELIABILITY", "offered": "BEST_EFFORT", "requested": "RELIABLE"}
    if requested.durability == DurabilityPolicy.TRANSIENT_LOCAL and offered.durability == DurabilityPolicy.VOLATILE:
        return {"publisher": publisher, "policy": "DURABILITY", "offered": "VOLATILE", "requested": "TRANSIENT_LOCAL"}
    return None
