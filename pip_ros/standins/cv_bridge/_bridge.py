"""Images between ROS messages and arrays, for the 8-bit encodings that cameras publish. Colour conversion is OpenCV's, as in the real package."""

from __future__ import annotations

import re
from array import array
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import CompressedImage, Image

AnyArray = npt.NDArray[Any]

# Encodings by the layout of a pixel, in OpenCV's words.
_LAYOUT = {
    "rgb8": "RGB",
    "bgr8": "BGR",
    "rgba8": "RGBA",
    "bgra8": "BGRA",
    "mono8": "GRAY",
    "yuv422": "YUV_UYVY",
    "yuv422_yuy2": "YUV_YUY2",
}
_CHANNELS = {"RGB": 3, "BGR": 3, "RGBA": 4, "BGRA": 4, "GRAY": 1, "YUV_UYVY": 2, "YUV_YUY2": 2}
_DEPTHS = {"uint8": "8U", "int8": "8S", "uint16": "16U", "int16": "16S", "int32": "32S", "float32": "32F", "float64": "64F"}


class CvBridgeError(TypeError):
    """A message or an array that the bridge cannot convert."""


class CvBridge:
    """Converts between `sensor_msgs` images and (height, width[, channels]) arrays."""

    def imgmsg_to_cv2(self, img_msg: Image, desired_encoding: str = "passthrough") -> AnyArray:
        """The pixels of a raw image: as they are (then possibly a view of the message's bytes), or in `desired_encoding`.

        Raises CvBridgeError for an encoding or a conversion that is not supplied, TypeError for bytes that do not fit the header.
        """
        channels = _channels(img_msg.encoding)
        width, height, step = img_msg.width, img_msg.height, img_msg.step
        data = np.frombuffer(img_msg.data, np.uint8)
        if step < width * channels or data.size < height * step:
            raise TypeError(
                f"got {data.size} bytes with step {step} for {width}×{height} {img_msg.encoding}, "
                f"expected a step of at least {width * channels} and {height} × step bytes: the publisher's header is wrong"
            )
        rows = data[: height * step].reshape(height, step)[:, : width * channels]
        image = np.ascontiguousarray(rows)
        if channels > 1:
            image = image.reshape(height, width, channels)
        return image if desired_encoding == "passthrough" else _convert(image, img_msg.encoding, desired_encoding)

    def compressed_imgmsg_to_cv2(self, cmprs_img_msg: CompressedImage, desired_encoding: str = "passthrough") -> AnyArray:
        """The pixels of a JPEG or PNG: as OpenCV decodes them (bgr order), or in `desired_encoding`.

        Every picture counts as bgr8: under "bgr8" a grey or a four-channel one keeps its channels and what cannot be decoded gives None,
        as under "passthrough"; any other conversion of those that OpenCV cannot do is a CvBridgeError.
        """
        data = np.frombuffer(cmprs_img_msg.data, np.uint8)
        image: AnyArray | None = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
        if desired_encoding == "passthrough" or (image is None and desired_encoding in ("", "bgr8")):
            return image  # type: ignore[return-value]  # the real signature hides the None too
        if image is None:
            raise CvBridgeError(f"got {data.size} bytes marked {cmprs_img_msg.format!r} that OpenCV cannot decode, expected a whole JPEG or PNG")
        return _convert(image, "bgr8", desired_encoding)

    def cv2_to_imgmsg(self, cvim: AnyArray, encoding: str = "passthrough", header: Any = None) -> Image:
        """A raw image message of `cvim`, whose type and channels have to be those of `encoding`; "passthrough" names only the type (8UC3)."""
        cv_type = _type_of(cvim)
        if encoding != "passthrough" and cv_type != f"8UC{_channels(encoding)}":
            raise CvBridgeError(f"got an image of type {cv_type} for encoding {encoding}, expected 8UC{_channels(encoding)}")
        msg = Image()
        if header is not None:
            msg.header = header
        msg.height, msg.width = cvim.shape[:2]
        msg.encoding = cv_type if encoding == "passthrough" else encoding
        msg.is_bigendian = cvim.dtype.byteorder == ">"
        msg.data = array("B", cvim.tobytes())
        msg.step = len(msg.data) // msg.height
        return msg

    def cv2_to_compressed_imgmsg(self, cvim: AnyArray, dst_format: str = "jpg") -> CompressedImage:
        """A compressed image message of a bgr8 or grey `cvim`; `dst_format` is a file extension ("jpg", "png"). An unknown one is OpenCV's error."""
        _type_of(cvim)
        msg = CompressedImage()
        msg.format = dst_format
        msg.data = array("B", cv2.imencode("." + dst_format, cvim)[1].tobytes())
        return msg


def _type_of(cvim: AnyArray) -> str:
    if not isinstance(cvim, np.ndarray):
        raise TypeError(f"got {type(cvim).__name__}, expected a numpy array")
    return f"{_DEPTHS[cvim.dtype.name]}C{cvim.shape[2] if cvim.ndim > 2 else 1}"


def _channels(encoding: str) -> int:
    generic = re.fullmatch(r"8UC([1-4])", encoding)
    if generic:
        return int(generic[1])
    if encoding not in _LAYOUT:
        raise CvBridgeError(f"got encoding {encoding!r}, expected {', '.join(_LAYOUT)} or 8UC1 to 8UC4: more needs the real cv_bridge of a ROS 2 installation")
    return _CHANNELS[_LAYOUT[encoding]]


def _convert(image: AnyArray, encoding: str, desired: str) -> AnyArray:
    """`image` in another encoding; an array of its own even where nothing changes."""
    if desired in ("", encoding):
        return np.array(image)
    _channels(desired)
    source, target = _LAYOUT.get(encoding), _LAYOUT.get(desired)
    if source is None or target is None or target.startswith("YUV"):
        raise CvBridgeError(f"no conversion from {encoding} to {desired}: this stand-in converts between {', '.join(_LAYOUT)}, and not to packed yuv")
    try:
        converted: AnyArray = cv2.cvtColor(image, _code(source, target))
    except cv2.error as error:
        raise CvBridgeError(f"conversion from {encoding} to {desired} of an image of shape {image.shape}: {error}") from error
    return converted


def _code(source: str, target: str) -> int:
    if source.startswith("YUV_"):
        packing = source.removeprefix("YUV_")
        return int(getattr(cv2, f"COLOR_YUV2{target}_{packing}"))
    return int(getattr(cv2, f"COLOR_{source}2{target}"))
