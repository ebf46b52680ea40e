"""A run as H.264 video: the camera with the followed path drawn on, the road from above, and speed, steering, command in words."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import imageio_ffmpeg
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.planning.command import CommandSource
from vavam_world.contracts import IMAGE_EVERY_TICKS, MAP_FRAME, TICK_S, U8, CameraSpec, RoadMap, Route, Trace, Vehicle, WorldState
from vavam_world.report import palette
from vavam_world.report.from_above import RoadFromAbove
from vavam_world.report.on_camera import draw_path, plan_at
from vavam_world.sim.intruder import INTRUDER_ID

FPS = 10
CAMERA_W, CAMERA_H, ABOVE_W, STRIP_H = 640, 360, 320, 104
SIZE = (CAMERA_W + ABOVE_W, CAMERA_H + STRIP_H)  # both even, as yuv420p wants them
VIDEO_CAMERA = CameraSpec.from_fov(80.0, CAMERA_W, CAMERA_H, name="video")
"""The world's camera with more pixels, for people."""
BESIDE_NS = 1_000_000_000  # an older path beside is not shown
HOLD_S = 1.5  # the last picture stays, with the outcome

OUTCOMES = {
    "route": ("end of the route", palette.GOOD),
    "collision": ("collision", palette.BAD),
    "off_road": ("off the road", palette.BAD),
    "stuck": ("stuck", palette.BAD),
    "time": ("out of time", palette.BAD),
    "driver_error": ("the driver failed", palette.BAD),
}


@lru_cache(maxsize=8)
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(os.path.join(matplotlib.get_data_path(), "fonts", "ttf", name), size)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Film:
    """What frames of one run are made from. `picture(state)`: (H, W, 3) of `camera`, at any size of the same shape as the frame's part."""

    trace: Trace
    road_map: RoadMap
    route: Route
    camera: CameraSpec
    picture: Callable[[WorldState], U8]
    vehicle: Vehicle = Vehicle()  # noqa: RUF009  frozen

    def frames(self) -> Iterator[U8]:
        """Frames of the whole run at `FPS`, then the last one for `HOLD_S` with the outcome."""
        above = RoadFromAbove(self.road_map, self.route)
        commands = CommandSource("route", rule="reference")
        commands.set_route(self.route.xy_m, MAP_FRAME)
        states = self.trace.states
        shown = [s for s in states if s.tick % IMAGE_EVERY_TICKS == 0]
        if states and (not shown or shown[-1] is not states[-1]):
            shown.append(states[-1])
        frame = None
        for state in shown:
            frame = self._frame(above, commands, state, last=state is states[-1])
            yield frame
        for _ in range(round(HOLD_S * FPS) if frame is not None else 0):
            assert frame is not None
            yield frame

    def _frame(self, above: RoadFromAbove, commands: CommandSource, state: WorldState, *, last: bool) -> U8:
        path = plan_at(self.trace.plans, state.stamp_ns)
        pose = state.ego.pose(state.stamp_ns)
        intruder = INTRUDER_ID if self.trace.scenario.intruder is not None else None
        canvas = Image.new("RGB", SIZE, palette.PAPER)
        beside = plan_at(self.trace.beside, state.stamp_ns)
        if beside is not None and state.stamp_ns - beside.stamp_ns > BESIDE_NS:
            beside = None
        picture = draw_path(self.picture(state), self.camera, state.ego, path, state.stamp_ns)
        seen = Image.fromarray(draw_path(picture, self.camera, state.ego, beside, state.stamp_ns, palette.BESIDE, width_m=0.4))
        canvas.paste(seen if seen.size == (CAMERA_W, CAMERA_H) else seen.resize((CAMERA_W, CAMERA_H), Image.Resampling.BICUBIC), (0, 0))
        above_picture = above.frame(state, self.vehicle, path, (ABOVE_W, CAMERA_H), intruder_id=intruder, beside=beside)
        canvas.paste(Image.fromarray(above_picture), (CAMERA_W, 0))
        draw = ImageDraw.Draw(canvas)
        self._strip(draw, state, commands.at(state.stamp_ns, pose)[0].name)
        if last:
            self._outcome(draw)
        return np.asarray(canvas)

    def _strip(self, draw: ImageDraw.ImageDraw, state: WorldState, command: str) -> None:
        ego, top = state.ego, CAMERA_H
        t = (state.tick - self.trace.states[0].tick) * TICK_S
        draw.text((16, top + 12), self.trace.scenario.name, fill=palette.INK, font=_font(14, bold=True))
        draw.text((16, top + 36), self.trace.driver.replace("_", " "), fill=palette.SOFT, font=_font(14))
        draw.text((16, top + 66), f"{t:5.1f} s", fill=palette.SOFT, font=_font(14))
        draw.text((314, top + 10), f"{3.6 * ego.speed_mps:.0f}", fill=palette.INK, font=_font(34, bold=True), anchor="ra")
        draw.text((320, top + 30), "km/h", fill=palette.SOFT, font=_font(13))
        cruise = self.trace.scenario.cruise_mps
        self._bar(draw, (250, top + 66, 360), ego.speed_mps / (1.5 * cruise), palette.EGO, f"cruise {3.6 * cruise:.0f}")
        draw.text((400, top + 12), "steering", fill=palette.SOFT, font=_font(13))
        draw.text((600, top + 12), f"{np.degrees(ego.steer_rad):+.1f}°", fill=palette.INK, font=_font(13), anchor="ra")
        self._centred_bar(draw, (400, top + 32, 600), -ego.steer_rad / self.vehicle.max_steer_rad)
        self._bar(draw, (400, top + 66, 490), ego.control.throttle, palette.GOOD, "throttle")
        self._bar(draw, (510, top + 66, 600), ego.control.brake, palette.BAD, "brake")
        draw.text((660, top + 12), "command", fill=palette.SOFT, font=_font(13))
        arrow = {"LEFT": "←", "RIGHT": "→", "STRAIGHT": "↑"}[command]
        draw.text((660, top + 32), f"{arrow} {command.lower()}", fill=palette.INK, font=_font(24, bold=True))
        draw.text((660, top + 66), "orange: the path that is followed", fill=palette.SOFT, font=_font(13))
        if self.trace.beside:
            draw.text((660, top + 84), f"violet: {self.trace.beside_name}", fill=palette.SOFT, font=_font(13))

    @staticmethod
    def _bar(draw: ImageDraw.ImageDraw, at: tuple[int, int, int], share: float, colour: palette.Rgb, label: str) -> None:
        x0, y, x1 = at
        draw.rectangle((x0, y, x1, y + 8), fill=palette.LINE)
        if share > 0.005:
            draw.rectangle((x0, y, x0 + round(min(share, 1.0) * (x1 - x0)), y + 8), fill=colour)
        draw.text((x0, y + 12), label, fill=palette.SOFT, font=_font(12))

    @staticmethod
    def _centred_bar(draw: ImageDraw.ImageDraw, at: tuple[int, int, int], share: float) -> None:
        """`share` −1..1, + to the right."""
        x0, y, x1 = at
        middle = (x0 + x1) // 2
        draw.rectangle((x0, y, x1, y + 8), fill=palette.LINE)
        end = middle + round(float(np.clip(share, -1.0, 1.0)) * (x1 - x0) / 2)
        draw.rectangle((min(middle, end), y, max(middle, end), y + 8), fill=palette.EGO)
        draw.line((middle, y - 3, middle, y + 11), fill=palette.INK, width=1)

    def _outcome(self, draw: ImageDraw.ImageDraw) -> None:
        text, colour = OUTCOMES[self.trace.finished]
        font = _font(24, bold=True)
        width = draw.textlength(text, font=font) + 36
        left = (CAMERA_W - width) / 2
        draw.rounded_rectangle((left, 18, left + width, 60), 8, fill=colour)
        draw.text((CAMERA_W / 2, 39), text, fill=palette.WHITE, font=font, anchor="mm")


def write_film(path: Path, film: Film) -> int:
    """Write an mp4 (H.264, yuv420p, 10 frames a second); it appears under its name only when it is complete. Returns the number of frames.

    Raises ConfigError where the run has no state to show."""
    if not film.trace.states:
        raise ConfigError(f"{path}: got a run without states, expected one or more: there is nothing to film")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.stem}.part{path.suffix}")
    options = ["-preset", "veryfast", "-crf", "28", "-movflags", "+faststart", "-threads", "1"]
    writer = imageio_ffmpeg.write_frames(
        str(part), SIZE, fps=FPS, codec="libx264", quality=None, pix_fmt_out="yuv420p", output_params=options, macro_block_size=2, ffmpeg_log_level="error"
    )
    writer.send(None)
    count = 0
    try:
        for frame in film.frames():
            writer.send(np.ascontiguousarray(frame))
            count += 1
    finally:
        writer.close()
    os.replace(part, path)
    return count
