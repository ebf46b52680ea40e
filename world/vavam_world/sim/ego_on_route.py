"""The ego as traffic sees it at junctions: where its route leads it, while it keeps to the route."""

from __future__ import annotations

from vavam_world.contracts import RoadMap, Route, Vehicle
from vavam_world.sim.junctions import EGO_ID, STANDING_MPS, Holder, Junctions

OFF_ROUTE_M = 3.0
SIGHT_M = 70.0


class EgoOnRoute:
    """The ego's place relative to the connecting lanes and crosswalks of its route. Off its route it is an obstacle and no more."""

    def __init__(self, road_map: RoadMap, route: Route, vehicle: Vehicle) -> None:
        self._front = vehicle.length_m - vehicle.rear_overhang_m
        self._rear = vehicle.rear_overhang_m
        self._ways: list[tuple[int, float]] = []  # connecting lanes, and where on the route their arc length begins
        self._crosswalks: list[tuple[int, float, float]] = []  # id, where on the route, half the width
        on = {(lane, c.id): (s, 0.5 * c.width_m) for c in road_map.crosswalks for lane, s in c.lanes}
        changes = [0, *(i for i in range(1, len(route.lane_id)) if route.lane_id[i] != route.lane_id[i - 1])]
        for i in changes:
            lane = road_map.lanes[int(route.lane_id[i])]
            squares = (lane.xy_m[:, 0] - route.xy_m[i, 0]) ** 2 + (lane.xy_m[:, 1] - route.xy_m[i, 1]) ** 2
            begin = float(route.s_m[i] - lane.s_m[int(squares.argmin())])
            if lane.junction is not None:
                self._ways.append((lane.id, begin))
            self._crosswalks += [(c, begin + s, half) for (on_lane, c), (s, half) in on.items() if on_lane == lane.id]
        self._s, self._d, self._speed, self._stood = 0.0, 0.0, 0.0, 0

    def move(self, s_m: float, d_m: float, speed_mps: float) -> None:
        """Where the ego's rear axle is on the route at this tick, and how fast it is."""
        self._s, self._d, self._speed = s_m, d_m, speed_mps
        self._stood = self._stood + 1 if abs(speed_mps) < STANDING_MPS else 0

    def note(self, junctions: Junctions) -> None:
        """Enters the ego as holder of the lane it is on, and its claim to the next."""
        if abs(self._d) > OFF_ROUTE_M:
            return
        claimed = False
        for lane, begin in self._ways:
            front, rear = self._s + self._front - begin, self._s - self._rear - begin
            if front > 0.0:
                junctions.hold(lane, Holder(id=EGO_ID, front_s=front, rear_s=rear, waits=self._stood > 20))
            elif -front < SIGHT_M and not claimed:
                junctions.claim(lane, EGO_ID, -front, self._speed, self._stood)
                claimed = True

    def approaching(self) -> list[tuple[int, float, float]]:
        """(crosswalk, distance of the front bumper, speed) of those ahead or below."""
        if abs(self._d) > OFF_ROUTE_M:
            return []
        front = self._s + self._front
        return [
            (c, max(0.0, s - half - front), abs(self._speed))
            for c, s, half in self._crosswalks
            if s + half > self._s - self._rear and s - half - front < SIGHT_M
        ]
