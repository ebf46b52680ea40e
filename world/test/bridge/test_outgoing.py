"""What a fault injector can do to a message."""

from collections.abc import Sequence
from typing import Any

import pytest
from vavam_world.bridge.outgoing import Emission, Outbox, Outgoing, Sent

from vavam_ros.core.contracts import ConfigError


class Scripted:
    """Does to each message what its text says."""

    def apply(self, out: Outgoing) -> Sequence[Emission]:
        acts: dict[str, list[Emission]] = {
            "drop": [],
            "replace": [Emission("other")],
            "claim": [Emission("other", answered=True)],
            "late": [Emission(out.message, 2)],
            "twice": [Emission(out.message), Emission(out.message, 1)],
            "back": [Emission(out.message, -1)],
        }
        return acts.get(out.message, [Emission(out.message)])


def run(messages: dict[int, list[str]], ticks: int) -> tuple[list[tuple[int, str, bool]], Outbox]:
    got: list[tuple[int, str, bool]] = []
    now = [0]

    def publish(sent: Sent) -> None:
        got.append((now[0], sent.message, sent.answered))

    box = Outbox(publish, Scripted())
    for tick in range(ticks):
        now[0] = tick
        box.begin(tick)
        for message in messages.get(tick, []):
            box.send(Outgoing(tick=tick, kind="image", topic="/t", message=message))
    return got, box


def test_without_faults_messages_are_the_same_objects() -> None:
    got: list[Any] = []
    message = object()
    Outbox(lambda s: got.append(s)).send(Outgoing(tick=0, kind="odometry", topic="/o", message=message))
    assert got[0].message is message
    assert got[0].answered
    assert got[0].topic == "/o"


def test_drop_replace_delay_duplicate() -> None:
    got, box = run({0: ["a", "drop", "replace", "late"], 1: ["twice"], 2: ["b"]}, 4)
    assert got == [(0, "a", True), (0, "other", False), (1, "twice", True), (2, "late", False), (2, "twice", False), (2, "b", True)]
    assert box.counts == {"sent": 6, "dropped": 1, "altered": 1, "delayed": 2, "added": 1}


def test_an_injector_may_claim_an_answer_and_not_send_into_the_past() -> None:
    assert run({0: ["claim"]}, 1)[0] == [(0, "other", True)]
    with pytest.raises(ConfigError, match="delay_ticks -1"):
        run({0: ["back"]}, 1)
