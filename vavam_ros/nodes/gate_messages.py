"""Vehicle commands of three message types as the gate sees them: numbers to check, a message to pass on. What it commands itself: control_messages.py."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Protocol

from vavam_ros.core.contracts import InputError
from vavam_ros.core.gate_checks import Channel, GateCommand
from vavam_ros.nodes.control_messages import message_class, stop_message
from vavam_ros.nodes.stamps import stamp_ns, time_msg

if TYPE_CHECKING:
    from typing import Any

    from vavam_ros.nodes.parameters import Parameters

SLACK = 0.05  # of a range: a float32 that rounds past its end, a controller that overshoots by a hair
LEAST_DECEL_MPS2 = 0.1  # AckermannDrive takes 0 for "as fast as possible"


class VehicleMessages(Protocol):
    """One message type. Every method returns a new message."""

    msg_type: Any
    channels: tuple[Channel, ...]

    def read(self, msg: Any, now_ns: int, speed_mps: float) -> GateCommand:
        """Message → numbers. Without a header the stamp is `now_ns`. Raises InputError for what the gate never passes."""

    def amended(self, msg: Any, command: GateCommand) -> Any:
        """The message with the numbers of the checked command, all else kept, its stamp too."""

    def restamped(self, msg: Any, now_ns: int) -> Any:
        """The message with a new stamp."""

    def stop(self, decel_mps2: float, last: Any | None, now_ns: int) -> Any:
        """Brake at this deceleration, steering as in `last`."""

    def hold(self, last: Any | None, now_ns: int) -> Any:
        """Full brake, steering as in `last`."""


def vehicle_messages(parameters: Parameters) -> VehicleMessages:
    """What `control_type` names. Raises ConfigError when the message package is not installed."""
    kind = parameters.text("control_type")
    return Carla(parameters) if kind == "carla" else Ackermann(parameters, stamped=kind == "ackermann_stamped")


class Carla:
    """carla_msgs/CarlaEgoVehicleControl. Steering + is right, a share of full lock."""

    def __init__(self, parameters: Parameters) -> None:
        self.msg_type = message_class("carla")
        self._brake_decel_mps2 = parameters.number("brake_decel_mps2")
        self.channels: tuple[Channel, ...] = (
            Channel(name="throttle", low=0.0, high=parameters.number("max_throttle"), slack=SLACK),
            Channel(name="brake", low=0.0, high=1.0, slack=SLACK),
            Channel(name="steer", low=-1.0, high=1.0, slack=SLACK, rate_per_s=parameters.number("max_steer_rate")),
        )

    def read(self, msg: Any, now_ns: int, speed_mps: float) -> GateCommand:
        """Reverse and manual gears are refused: the model drives forward."""
        if msg.reverse or msg.manual_gear_shift:
            raise InputError("reverse or manual_gear_shift is set; expected a forward drive with automatic gears")
        decel_mps2 = msg.brake * self._brake_decel_mps2
        return GateCommand(stamp_ns=stamp_ns(msg.header), values=(msg.throttle, msg.brake, msg.steer), decel_mps2=decel_mps2)

    def amended(self, msg: Any, command: GateCommand) -> Any:
        """See VehicleMessages."""
        out = copy.deepcopy(msg)
        out.throttle, out.brake, out.steer = command.values
        return out

    def restamped(self, msg: Any, now_ns: int) -> Any:
        """See VehicleMessages."""
        out = copy.deepcopy(msg)
        out.header.stamp = time_msg(now_ns)
        return out

    def stop(self, decel_mps2: float, last: Any | None, now_ns: int) -> Any:
        """See VehicleMessages."""
        return self._braking(decel_mps2, last, now_ns, hold=False)

    def hold(self, last: Any | None, now_ns: int) -> Any:
        """See VehicleMessages."""
        return self._braking(0.0, last, now_ns, hold=True)

    def _braking(self, decel_mps2: float, last: Any | None, now_ns: int, *, hold: bool) -> Any:
        steer, frame_id = (last.steer, last.header.frame_id) if last is not None else (0.0, "")
        full = self._brake_decel_mps2
        return stop_message("carla", now_ns, decel_mps2=decel_mps2, speed_mps=0.0, steering=steer, brake_decel_mps2=full, hold=hold, frame_id=frame_id)


class Ackermann:
    """ackermann_msgs/AckermannDriveStamped, or AckermannDrive, which has no header. Steering + is left, radians."""

    def __init__(self, parameters: Parameters, *, stamped: bool) -> None:
        self._stamped, self._kind = stamped, "ackermann_stamped" if stamped else "ackermann"
        self.msg_type = message_class(self._kind)
        steer, accel = parameters.number("max_steer_rad"), parameters.number("max_accel_mps2")
        self.channels: tuple[Channel, ...] = (
            Channel(name="steering_angle", low=-steer, high=steer, slack=SLACK * steer, rate_per_s=steer * parameters.number("max_steer_rate")),
            Channel(name="speed", low=0.0, high=parameters.number("max_speed_mps"), slack=SLACK),
            Channel(name="acceleration", low=-accel, high=accel, slack=SLACK * accel),
            Channel(name="steering_angle_velocity", low=-100.0, high=100.0),
            Channel(name="jerk", low=-1000.0, high=1000.0),
        )

    def read(self, msg: Any, now_ns: int, speed_mps: float) -> GateCommand:
        """A speed below the present one is reached by braking, with the acceleration's magnitude."""
        d = self._drive(msg)
        return GateCommand(
            stamp_ns=stamp_ns(msg.header) if self._stamped else now_ns,
            values=(d.steering_angle, d.speed, d.acceleration, d.steering_angle_velocity, d.jerk),
            decel_mps2=abs(d.acceleration) if d.acceleration < 0.0 or d.speed < speed_mps else 0.0,
        )

    def amended(self, msg: Any, command: GateCommand) -> Any:
        """See VehicleMessages."""
        out = copy.deepcopy(msg)
        d = self._drive(out)
        d.steering_angle, d.speed, d.acceleration, d.steering_angle_velocity, d.jerk = command.values
        return out

    def restamped(self, msg: Any, now_ns: int) -> Any:
        """See VehicleMessages."""
        out = copy.deepcopy(msg)
        if self._stamped:
            out.header.stamp = time_msg(now_ns)
        return out

    def stop(self, decel_mps2: float, last: Any | None, now_ns: int) -> Any:
        """See VehicleMessages. Speed 0, to be reached with this deceleration."""
        return self._braking(max(decel_mps2, LEAST_DECEL_MPS2), last, now_ns, hold=False)

    def hold(self, last: Any | None, now_ns: int) -> Any:
        """See VehicleMessages. Speed 0, as fast as possible."""
        return self._braking(0.0, last, now_ns, hold=True)

    def _braking(self, decel_mps2: float, last: Any | None, now_ns: int, *, hold: bool) -> Any:
        steering = self._drive(last).steering_angle if last is not None else 0.0
        frame_id = last.header.frame_id if last is not None and self._stamped else ""
        moving_mps = 1.0  # only whether it moves counts
        return stop_message(self._kind, now_ns, decel_mps2=decel_mps2, speed_mps=moving_mps, steering=steering, hold=hold, frame_id=frame_id)

    def _drive(self, msg: Any) -> Any:
        return msg.drive if self._stamped else msg
