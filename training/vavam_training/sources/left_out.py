"""What is left out of a drive: counted by reason, and said."""

from __future__ import annotations

from dataclasses import dataclass, field

from vavam_training.contracts import Skipped


@dataclass(slots=True)
class LeftOut:
    """How often frames of one drive were left out for a reason, and since when."""

    counts: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, why: str, stamp_ns: int) -> None:
        """Count one frame."""
        count, first = self.counts.get(why, (0, stamp_ns))
        self.counts[why] = count + 1, first

    def entries(self, drive: str) -> list[Skipped]:
        """One entry a reason."""
        return [Skipped(what=f"{drive}: {n} frames from stamp {first} on", why=why) for why, (n, first) in sorted(self.counts.items())]
