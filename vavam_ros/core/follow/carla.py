"""Acceleration and wheel angle → throttle, brake and steer of a CARLA-like vehicle, and back.

The map is a feed-forward one: what the motion needs beyond rolling resistance and drag is asked of the engine or of the brake, each taken as linear.
CARLA's own vehicles have gears and a torque curve: there the parameters are averages, and the follower's feedback on speed makes up the difference.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.follow.follower import DriveCommand


@dataclass(frozen=True, slots=True, kw_only=True)
class CarlaActuation:
    """What throttle, brake and steer do. The defaults are the built-in world's vehicle, which is a middling car."""

    max_steer_rad: float = 0.61  # wheel angle at steer ∓1
    max_accel_mps2: float = 3.5  # throttle 1 at low speed
    max_power_w_per_kg: float = 45.0  # bounds acceleration at speed
    max_brake_mps2: float = 8.0  # brake 1
    rolling_mps2: float = 0.10
    drag_1pm: float = 0.0006  # resistance = drag · v²
    hold_brake: float = 0.4  # at standstill, so that nothing creeps: an automatic gearbox does, and slopes exist
    hold_below_mps: float = 0.15  # slower than this a vehicle that is to stand is held

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), 0.0 if field.name in ("rolling_mps2", "drag_1pm") else 1e-6
            if not least <= value < 1e6:
                raise ConfigError(f"actuation {field.name}: got {value}, expected a {'positive number' if least else 'number of 0 or more'}")
        if not (self.max_steer_rad < 1.5707 and self.hold_brake <= 1.0):
            raise ConfigError(f"actuation: got max_steer_rad {self.max_steer_rad}, hold_brake {self.hold_brake}; expected radians below π/2, and 1 at most")


def carla_control(command: DriveCommand, speed_mps: float, actuation: CarlaActuation) -> tuple[float, float, float]:
    """(throttle 0..1, brake 0..1, steer −1..1 with + to the RIGHT) for a command at the present speed. Never throttle and brake at once."""
    a = actuation
    steer = min(1.0, max(-1.0, -command.steer_rad / a.max_steer_rad))
    if command.speed_mps <= 0.0 and abs(speed_mps) < a.hold_below_mps:
        return 0.0, a.hold_brake, steer
    needed = command.accel_mps2 + _resistance(speed_mps, a)
    if needed >= 0.0:
        return min(1.0, needed / _full_throttle(speed_mps, a)), 0.0, steer
    return 0.0, min(1.0, -needed / a.max_brake_mps2), steer


def carla_motion(throttle: float, brake: float, steer: float, speed_mps: float, actuation: CarlaActuation) -> tuple[float, float]:
    """(acceleration m/s², wheel angle rad + left) that a moving vehicle settles at: the inverse of `carla_control` within its limits."""
    a = actuation
    return throttle * _full_throttle(speed_mps, a) - brake * a.max_brake_mps2 - _resistance(speed_mps, a), -steer * a.max_steer_rad


def _full_throttle(speed_mps: float, a: CarlaActuation) -> float:
    return min(a.max_accel_mps2, a.max_power_w_per_kg / max(abs(speed_mps), 0.1))


def _resistance(speed_mps: float, a: CarlaActuation) -> float:
    """Of rolling and drag; a standing vehicle's rolling resistance has to be overcome, too."""
    return a.rolling_mps2 + a.drag_1pm * speed_mps * speed_mps
