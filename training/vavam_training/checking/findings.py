"""What is odd about a set, in sentences: what a person would find in the plots, with its threshold. Nothing here stops anything."""

from __future__ import annotations

from dataclasses import dataclass

from vavam_ros.core.contracts import Command
from vavam_training.checking.motion import MOVING_MPS, STANDING_MPS
from vavam_training.checking.numbers import SetNumbers
from vavam_training.dataset import Manifest

TURNING_SHARE = 0.1  # of windows; with less, commands are hardly learned
SIDES = 3.0  # left to right, or the other way round
STANDING_SHARE = 0.3
LEVER_M, SCALE, SPEED_ERROR_MPS = 0.7, 0.05, 0.5
FROZEN_SHARE = 0.01
LOST_SHARE = 0.2  # of first frames without a window for another reason than the end of the drive
ADVISED_SHARE = 0.5  # of windows of drives with an adviser
USED_SHARE = 0.1  # of the codebook
END = "the drive ends before the window does"


@dataclass(frozen=True, slots=True)
class Finding:
    """`look`: worth looking at before training on it; else good to know."""

    text: str
    look: bool = True


def findings(manifest: Manifest, n: SetNumbers) -> list[Finding]:
    """All there is to say, what is worth a look first."""
    found = [*_identity(manifest, n), *_poses(n), *_balance(n), *_time(n), *_tokens(manifest, n)]
    return sorted(found, key=lambda f: not f.look)


def _identity(manifest: Manifest, n: SetNumbers) -> list[Finding]:
    out = []
    cameras = sorted({d.camera_id for d in n.drives})
    resized = [c for c in cameras if c.startswith("resize:")]
    if resized:
        out.append(
            Finding(f"Pictures of {', '.join(resized)} were only resized: their camera is not known, so distances in them mean something else than elsewhere.")
        )
    if len(cameras) > 1:
        out.append(Finding(f"Several views: {', '.join(c or 'unknown' for c in cameras)}.", look=False))
    if manifest.skipped:
        out.append(Finding(f"Left out of the set when it was made: {len(manifest.skipped)} entries (below).", look=False))
    return out


def _poses(n: SetNumbers) -> list[Finding]:
    out = []
    still = [d.name for d in n.drives if not d.motion]
    if still:
        out.append(Finding(f"Without poses: {len(still)} of {len(n.drives)} drives; they train the video model only.", look=False))
    m = n.motion
    if m.lever_m is not None and abs(m.lever_m) > LEVER_M:
        side = "ahead of" if m.lever_m > 0 else "behind"
        out.append(
            Finding(f"In turns the poses move like a point {abs(m.lever_m):.1f} m {side} the rear axle. Is the position that of another point of the vehicle?")
        )
    if m.speed_scale is not None and abs(m.speed_scale - 1.0) > SCALE:
        out.append(Finding(f"The recorded speed is {m.speed_scale:.2f} times that of the poses: one of them has another unit or scale."))
    elif m.speed_error_mps is not None and m.speed_error_mps > SPEED_ERROR_MPS:
        out.append(Finding(f"Recorded speed and poses differ by {m.speed_error_mps:.1f} m/s on average: are their stamps of the same clock?"))
    backwards = m.speed.share(-99.0, -1.0)
    if backwards > 0.01:
        out.append(Finding(f"Driving backwards {backwards:.0%} of the time. If that is not so, the poses' x axis points backwards."))
    return out


def _balance(n: SetNumbers) -> list[Finding]:
    if not n.total("windows"):
        return []
    out = []
    asked = [d for d in n.drives if d.advised is not None]
    if asked:
        windows, advised = sum(d.windows for d in asked), sum(d.advised or 0 for d in asked)
        text = f"Advised drives: {advised} of {windows} windows ({advised / max(windows, 1):.0%}) have advice for their newest frame"
        out.append(Finding(f"{text}; frames without it teach the video model only.", look=advised < ADVISED_SHARE * windows))
    right, left, straight, _ = (int(v) for v in n.commands(n.rule))
    turn = "turn within 3 s" if n.rule == "horizon_3s" else "are told to turn"
    turning = (left + right) / max(left + right + straight, 1)
    if turning < TURNING_SHARE:
        out.append(Finding(f"Only {turning:.1%} of the windows {turn}: commands other than straight are hardly learned from them."))
    if min(left, right) * SIDES < max(left, right):
        most, least = ("left", "right") if left > right else ("right", "left")
        out.append(Finding(f"Windows that {turn}: {max(left, right)} to the {most}, {min(left, right)} to the {least}."))
    if "reference" in n.rules and turning > 0:
        reference = n.commands("reference")
        of_reference = float(reference[Command.LEFT] + reference[Command.RIGHT]) / max(int(reference.sum()), 1)
        if of_reference < turning / 2:
            text = f"By the rule of the reference (six rows ahead) {of_reference:.1%} of the windows turn, by the 3 s rule {turning:.1%}."
            out.append(Finding(text, look=False))
    standing = n.motion.speed.share(-STANDING_MPS - 0.2, STANDING_MPS + 0.2)
    if standing > STANDING_SHARE:
        out.append(Finding(f"Standing {standing:.0%} of the time."))
    return out


def _time(n: SetNumbers) -> list[Finding]:
    out = []
    gaps = n.gaps()
    if gaps:
        out.append(Finding(f"Gaps in time: {len(gaps)}, in {len({g[0] for g in gaps})} of {len(n.drives)} drives; the longest {gaps[0][2]:.1f} s.", look=False))
    lost = sum(count for reason, count in n.reasons("left_out_video").items() if reason != END)
    if lost > LOST_SHARE * n.frames:
        usual, grid = sorted(d.step_s for d in n.drives)[len(n.drives) // 2], f"{n.spec.frame_dt_s} s ± {n.spec.tolerance_s} s"
        why = f"frames are usually {usual:.2f} s apart, a window wants them at {grid}"
        out.append(Finding(f"{lost / n.frames:.0%} of the frames begin no window though their drive goes on: {why}."))
    if not n.total("video_windows"):
        out.append(Finding(f"No window of {n.spec.frames} frames at {n.spec.frame_dt_s} s fits into any drive."))
    elif not n.total("windows") and any(d.motion for d in n.drives):
        out.append(Finding("No window has poses to the end of its horizon."))
    return out


def _tokens(manifest: Manifest, n: SetNumbers) -> list[Finding]:
    out = []
    frozen = n.total("frozen")
    if frozen > FROZEN_SHARE * n.frames:
        when = f"while the vehicle moves faster than {MOVING_MPS} m/s"
        out.append(Finding(f"{frozen} frames ({frozen / n.frames:.0%}) are, token for token, the one before {when}: a picture that froze?"))
    seen = min(manifest.codebook_size, int(n.codes.counts.sum()))
    if n.codes.used < USED_SHARE * seen:
        out.append(
            Finding(f"{n.codes.used} of {manifest.codebook_size} codes occur: the tokenizer does not tell these pictures apart, or was made for others.")
        )
    return out
