"""Image bytes as they come in messages → (height, width, 3) uint8, R first. Pixel-equal to cv_bridge's conversions to rgb8.

Accepted: rgb8 (no copy when the rows are packed), bgr8, rgba8, bgra8, yuv422 (U Y V Y; also called uyvy), yuv422_yuy2 (Y U Y V; also yuyv),
and JPEG or PNG. Refused by name, with what to do about it: grey images (the model was trained in colour), Bayer mosaics (demosaicing is the driver's
work and cv_bridge's plain interpolation is worse than any), more than 8 bits, and the generic 8UC3 (its channel order is not defined: guessing wrong swaps
red and blue and nothing downstream would notice; cv_bridge refuses it too).
"""

from __future__ import annotations

import re
from array import array
from typing import TYPE_CHECKING, Any, TypeAlias

import cv2
import numpy as np

from vavam_ros.core.contracts import U8, EncodingError

if TYPE_CHECKING:
    ByteBuffer: TypeAlias = "bytes | bytearray | memoryview | array[Any] | U8"

# encoding → (bytes per pixel, OpenCV conversion or None when the bytes are RGB already)
_RAW: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUY2),
}
RAW_ENCODINGS = tuple(_RAW)
_EXPECTED = f"expected one of {', '.join(RAW_ENCODINGS)}"


def decode_raw(data: ByteBuffer, encoding: str, width: int, height: int, step: int, is_bigendian: bool = False) -> U8:
    """The fields of a sensor_msgs/Image → rgb (height, width, 3) uint8.

    `step` is the length of a row in bytes and may exceed the pixels (padding); bytes after the last row are ignored. `is_bigendian` has no
    meaning for 8-bit channels. The result of rgb8 is a view of `data` (read-only when `data` is), otherwise a new array.
    Raises EncodingError for an encoding outside RAW_ENCODINGS and for bytes that do not fit the header.
    """
    if encoding not in _RAW:
        raise EncodingError(f"image encoding: got {encoding!r}, {_EXPECTED}. {_remedy(encoding)}")
    channels, conversion = _RAW[encoding]
    if width <= 0 or height <= 0:
        raise EncodingError(f"image size: got {width}×{height}, expected a positive width and height; the publisher sent an empty image")
    if channels == 2 and width % 2:
        raise EncodingError(f"{encoding} image: got an odd width {width}, expected an even one (two pixels share their colour)")
    if step < width * channels:
        raise EncodingError(
            f"image step: got {step}, expected at least width × {channels} = {width * channels} bytes for {encoding}; the publisher's header is wrong"
        )
    size = data.nbytes if isinstance(data, (memoryview, np.ndarray)) else len(data)
    if size < height * step:
        raise EncodingError(f"image data: got {size} bytes, expected height × step = {height * step}; the message was truncated or its header is wrong")
    rows = np.frombuffer(data, np.uint8, count=height * step).reshape(height, step)
    pixels: U8 = rows[:, : width * channels].reshape(height, width, channels)  # splitting the last axis keeps it a view
    return pixels if conversion is None else np.asarray(cv2.cvtColor(pixels, conversion), np.uint8)


def decode_compressed(data: ByteBuffer, format: str = "") -> U8:
    """The fields of a sensor_msgs/CompressedImage → rgb (height, width, 3) uint8.

    The bytes decide, not `format`, which drivers fill in many ways; it only refuses what is no picture (depth, video) and explains failures.
    A file's colours are taken as its standard says; an alpha channel is dropped; the EXIF orientation is ignored, since intrinsics belong to the
    picture as the sensor read it. Raises EncodingError for empty, corrupt, grey or deeper than 8-bit pictures.
    """
    kind = format.lower()
    if re.search(r"compresseddepth|h\.?26[45]|hevc|av1|theora", kind):
        raise EncodingError(
            f"compressed image format: got {format!r}, expected JPEG or PNG. Subscribe to an image_transport 'compressed' topic of a colour camera"
        )
    buffer = np.frombuffer(data, np.uint8) if len(data) else np.empty(0, np.uint8)
    if not buffer.size:
        raise EncodingError(f"compressed image ({format!r}): got no bytes, expected JPEG or PNG data")
    _check_complete(buffer, format)
    try:
        picture = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED)
    except cv2.error as e:
        raise EncodingError(f"compressed image ({format!r}, {buffer.size} bytes): the decoder failed: {e.err}") from e
    if picture is None:
        start = buffer[:4].tobytes().hex(" ")
        raise EncodingError(f"compressed image ({format!r}, {buffer.size} bytes starting {start}): not decodable, expected complete JPEG or PNG data")
    if picture.dtype != np.uint8:
        raise EncodingError(f"compressed image ({format!r}): got {picture.dtype} channels, expected uint8. Publish an 8-bit colour image")
    if picture.ndim == 2 or picture.shape[2] not in (3, 4):
        raise EncodingError(f"compressed image ({format!r}): got a grey picture, expected colour. {_remedy('mono8')}")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB if picture.shape[2] == 3 else cv2.COLOR_BGRA2RGB), np.uint8)


def _check_complete(buffer: U8, format: str) -> None:
    """Decoders fill the missing part of a cut-off file with grey and say nothing: look for its end mark (before any zero padding)."""
    start = buffer[:8].tobytes()
    for name, magic, end in (("JPEG", b"\xff\xd8", b"\xff\xd9"), ("PNG", b"\x89PNG", b"IEND")):
        if start.startswith(magic) and end not in buffer.tobytes().rstrip(b"\0")[-1024:]:
            raise EncodingError(
                f"compressed image ({format!r}, {buffer.size} bytes): a {name} without its end, expected complete data; the message was truncated"
            )


def _remedy(encoding: str) -> str:
    """What to change at the publisher."""
    if encoding.startswith("mono") or encoding in ("8UC1", "16UC1"):
        return "The model needs colour: subscribe to the camera's colour topic"
    if encoding.startswith("bayer"):
        return "Run the driver's or image_proc's debayer step and subscribe to its image_color topic"
    if re.fullmatch(r"8UC[34]", encoding):
        return "Its channel order is not defined: have the publisher name it (cv2_to_imgmsg(image, 'bgr8') for OpenCV images)"
    if encoding.endswith("16") or encoding.startswith(("16", "32", "64")):
        return "Have the driver publish 8-bit colour"
    return "Have the driver publish rgb8 or bgr8"
