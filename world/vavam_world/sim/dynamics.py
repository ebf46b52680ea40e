"""The ego's motion: a kinematic bicycle about the rear axle behind actuators with limits and lag.

Steering: the wheel follows −steer · max_steer_rad (steer + = right, wheel + = left) with a first-order lag and a rate limit.
Speed: throttle asks for the smaller of `max_accel_mps2` and `max_power_w_per_kg` / |v|, in reverse backwards; brake, hand brake, rolling
resistance and drag work against the motion; the acceleration follows their sum with a first-order lag. What works against the motion ends
at standstill and holds there whatever is weaker, so that no brake ever drives backwards. There is no tyre slip: grip is the driver's duty.

The delay of a control is the simulation's (`Vehicle.delay_ticks`); here a control is in effect for the whole step.
"""

from __future__ import annotations

import math

from vavam_world.contracts import TICK_S, Control, EgoState, Vehicle, WorldError

HAND_BRAKE_MPS2 = 4.0  # holds against full throttle
SUB_STEP_S = 0.0125  # Runge-Kutta steps of this length: far below a millimetre per second (test/sim/test_dynamics.py)

_Motion = tuple[float, float, float, float, float, float]  # x, y, yaw, speed, accel, steer


def bounded(control: Control) -> Control:
    """The control as actuators take it: throttle and brake in 0..1, steer in −1..1. Raises WorldError on values that are not finite."""
    if not (math.isfinite(control.throttle) and math.isfinite(control.brake) and math.isfinite(control.steer)):
        raise WorldError(f"control: got {control}, expected finite throttle, brake and steer: check the sender")
    throttle, brake, steer = min(1.0, max(0.0, control.throttle)), min(1.0, max(0.0, control.brake)), min(1.0, max(-1.0, control.steer))
    if (throttle, brake, steer) == (control.throttle, control.brake, control.steer):
        return control
    return Control(throttle=throttle, brake=brake, steer=steer, hand_brake=control.hand_brake, reverse=control.reverse)


def step_ego(state: EgoState, control: Control, vehicle: Vehicle, dt_s: float = TICK_S) -> EgoState:
    """The ego `dt_s` later, with `control` in effect all the while. Values beyond their range are cut to it.

    Raises WorldError on a control that is not finite."""
    control = bounded(control)
    motion: _Motion = (state.x_m, state.y_m, state.yaw_rad, state.speed_mps, state.accel_mps2, state.steer_rad)
    steps = max(1, math.ceil(dt_s / SUB_STEP_S - 1e-9))
    for _ in range(steps):
        motion = _sub_step(motion, control, vehicle, dt_s / steps)
    x, y, yaw, speed, accel, steer = motion
    return EgoState(
        x_m=x,
        y_m=y,
        yaw_rad=yaw,
        speed_mps=speed,
        accel_mps2=accel,
        yaw_rate_radps=speed * math.tan(steer) / vehicle.wheelbase_m,
        steer_rad=steer,
        control=control,
    )


def terminal_speed(throttle: float, vehicle: Vehicle) -> float:
    """Speed at which `throttle` and resistance balance, by bisection; 0 where the throttle does not overcome rolling."""
    low, high = 0.0, 200.0
    for _ in range(100):
        mid = 0.5 * (low + high)
        low, high = (mid, high) if _drive(throttle, mid, vehicle) > vehicle.rolling_mps2 + vehicle.drag_1pm * mid * mid else (low, mid)
    return low


def _drive(throttle: float, speed: float, vehicle: Vehicle) -> float:
    return throttle * min(vehicle.max_accel_mps2, vehicle.max_power_w_per_kg / max(abs(speed), 0.1))


def _sub_step(motion: _Motion, control: Control, vehicle: Vehicle, h: float) -> _Motion:
    """One step; cut in two where the speed passes zero, since friction changes its sign there."""
    friction = control.brake * vehicle.max_brake_mps2 + (HAND_BRAKE_MPS2 if control.hand_brake else 0.0) + vehicle.rolling_mps2
    drive = _drive(control.throttle, 0.0, vehicle) * (-1.0 if control.reverse else 1.0)
    way = math.copysign(1.0, motion[3])
    if motion[3] == 0.0:
        if abs(drive) <= friction:
            return _stand(motion, control, vehicle, h)
        way = math.copysign(1.0, drive)
    after = _runge_kutta(motion, control, vehicle, way, friction, h)
    if after[3] * way >= 0.0:
        return after
    if motion[3] == 0.0:  # an acceleration left over from before points the other way: it ends with the motion
        return _stand(motion, control, vehicle, h)
    cut = h * motion[3] / (motion[3] - after[3])
    x, y, yaw, _, accel, steer = _runge_kutta(motion, control, vehicle, way, friction, cut)
    holds = abs(drive) <= friction or drive * way > 0.0
    rest = (x, y, yaw, 0.0, 0.0 if holds else accel, steer)
    if holds:
        return _stand(rest, control, vehicle, h - cut)
    return _runge_kutta(rest, control, vehicle, -way, friction, h - cut)


def _stand(motion: _Motion, control: Control, vehicle: Vehicle, h: float) -> _Motion:
    x, y, yaw, _, _, steer = motion
    return x, y, yaw, 0.0, 0.0, _steer_after(steer, -control.steer * vehicle.max_steer_rad, vehicle, h)


def _steer_after(steer: float, target: float, vehicle: Vehicle, h: float) -> float:
    """Wheel angle after `h`, exactly: at the rate limit while the lag asks for more, then exponentially."""
    error = target - steer
    limit = vehicle.max_steer_rate_radps * vehicle.steer_time_constant_s
    if abs(error) > limit:
        limited = (abs(error) - limit) / vehicle.max_steer_rate_radps
        if limited >= h:
            return steer + math.copysign(vehicle.max_steer_rate_radps * h, error)
        error, h = math.copysign(limit, error), h - limited
    return target - error * math.exp(-h / vehicle.steer_time_constant_s)


def _runge_kutta(motion: _Motion, control: Control, vehicle: Vehicle, way: float, friction: float, h: float) -> _Motion:
    """Classical fourth order for x, y, yaw, speed and acceleration; the wheel angle enters exactly."""
    x, y, yaw, speed, accel, steer = motion
    target = -control.steer * vehicle.max_steer_rad
    steer_mid, steer_end = _steer_after(steer, target, vehicle, 0.5 * h), _steer_after(steer, target, vehicle, h)
    sign = -1.0 if control.reverse else 1.0
    tau, drag, base = vehicle.accel_time_constant_s, vehicle.drag_1pm, vehicle.wheelbase_m

    def slope(yaw: float, v: float, a: float, tangent: float) -> tuple[float, float, float, float, float]:
        asked = sign * _drive(control.throttle, v, vehicle) - way * (friction + drag * v * v)
        return v * math.cos(yaw), v * math.sin(yaw), v * tangent / base, a, (asked - a) / tau

    t0, t1, t2 = math.tan(steer), math.tan(steer_mid), math.tan(steer_end)
    half = 0.5 * h
    k1 = slope(yaw, speed, accel, t0)
    k2 = slope(yaw + half * k1[2], speed + half * k1[3], accel + half * k1[4], t1)
    k3 = slope(yaw + half * k2[2], speed + half * k2[3], accel + half * k2[4], t1)
    k4 = slope(yaw + h * k3[2], speed + h * k3[3], accel + h * k3[4], t2)
    sixth = h / 6.0
    dx, dy, dyaw, dv, da = (sixth * (p + 2.0 * (q + r) + s) for p, q, r, s in zip(k1, k2, k3, k4))
    return x + dx, y + dy, yaw + dyaw, speed + dv, accel + da, steer_end
