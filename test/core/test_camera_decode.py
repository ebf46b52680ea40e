"""Image bytes → rgb: every encoding, padding, and bytes that do not fit."""

from __future__ import annotations

import array

import cv2
import numpy as np
import pytest

from vavam_ros.core.camera import RAW_ENCODINGS, decode_compressed, decode_raw
from vavam_ros.core.contracts import EncodingError

RGB = np.random.default_rng(1).integers(0, 256, (6, 8, 3)).astype(np.uint8)
ALPHA = np.full((6, 8, 1), 7, np.uint8)


def padded(pixels: np.ndarray, extra: int) -> tuple[bytes, int]:
    rows = pixels.reshape(len(pixels), -1)
    return np.hstack([rows, np.full((len(rows), extra), 201, np.uint8)]).tobytes(), rows.shape[1] + extra


@pytest.mark.parametrize("extra", [0, 1, 5])
@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [("rgb8", RGB), ("bgr8", RGB[..., ::-1]), ("rgba8", np.dstack([RGB, ALPHA])), ("bgra8", np.dstack([RGB[..., ::-1], ALPHA]))],
)
def test_colour_encodings_give_rgb_whatever_the_row_padding(encoding, pixels, extra):
    data, step = padded(np.ascontiguousarray(pixels), extra)
    for buffer in (data, bytearray(data), memoryview(data), array.array("B", data), np.frombuffer(data, np.uint8)):
        for big in (False, True):
            assert np.array_equal(decode_raw(buffer, encoding, 8, 6, step, big), RGB)


def test_rgb8_is_a_view_of_the_message():
    data = bytearray(RGB.tobytes())
    rgb = decode_raw(data, "rgb8", 8, 6, 24)
    data[0] = (int(RGB[0, 0, 0]) + 1) % 256
    assert rgb[0, 0, 0] == data[0]


def bt601(y: int, u: int, v: int) -> np.ndarray:
    y, u, v = 1.164 * (y - 16), u - 128, v - 128
    return np.clip([y + 1.596 * v, y - 0.813 * v - 0.391 * u, y + 2.018 * u], 0, 255)


@pytest.mark.parametrize(("encoding", "order"), [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv"), ("yuyv", "yuyv")])
@pytest.mark.parametrize("extra", [0, 3])
def test_yuv_encodings_follow_bt601_and_their_byte_order(encoding, order, extra):
    pairs = [(60, 200, 90, 160), (235, 16, 128, 128), (120, 130, 200, 40)]  # y0, y1, u, v: reddish, white and black, bluish
    rows = []
    for y0, y1, u, v in pairs:
        values = {"u": [u], "v": [v], "y": [y0, y1]}
        rows.append([values[c].pop(0) for c in order] * 2)
    data, step = padded(np.array(rows, np.uint8), extra)
    rgb = decode_raw(data, encoding, 4, 3, step).astype(int)
    for row, (y0, y1, u, v) in enumerate(pairs):
        assert abs(rgb[row, 0] - bt601(y0, u, v)).max() <= 2
        assert abs(rgb[row, 3] - bt601(y1, u, v)).max() <= 2


@pytest.mark.parametrize(
    ("encoding", "remedy"),
    [
        ("mono8", "colour topic"),
        ("mono16", "colour topic"),
        ("bayer_rggb8", "debayer"),
        ("8UC3", "bgr8"),
        ("16UC1", "colour topic"),
        ("rgb16", "8-bit"),
        ("32FC1", "8-bit"),
        ("nv21", "rgb8"),
        ("", "rgb8"),
    ],
)
def test_other_encodings_are_refused_with_what_to_do(encoding, remedy):
    with pytest.raises(EncodingError, match=remedy) as e:
        decode_raw(bytes(1000), encoding, 8, 6, 24)
    assert repr(encoding) in str(e.value)
    assert "bgra8" in str(e.value)


@pytest.mark.parametrize(
    ("size", "width", "height", "step", "text"),
    [
        (143, 8, 6, 24, "143 bytes, expected height × step = 144"),
        (0, 8, 6, 24, "0 bytes"),
        (144, 8, 6, 23, "step: got 23"),
        (144, 8, 6, 0, "step: got 0"),
        (144, 0, 6, 24, "0×6"),
        (144, 8, -1, 24, "8×-1"),
    ],
)
def test_bytes_that_do_not_fit_the_header_are_refused(size, width, height, step, text):
    with pytest.raises(EncodingError, match=text):
        decode_raw(bytes(size), "rgb8", width, height, step)


def test_yuv_needs_an_even_width():
    with pytest.raises(EncodingError, match="odd width 3"):
        decode_raw(bytes(100), "yuv422", 3, 2, 8)


def test_bytes_after_the_last_row_are_ignored():
    assert np.array_equal(decode_raw(RGB.tobytes() + b"tail", "rgb8", 8, 6, 24), RGB)


def encode(kind: str, bgr: np.ndarray) -> bytes:
    return cv2.imencode(kind, bgr)[1].tobytes()


@pytest.mark.parametrize("form", ["png", "rgb8; png compressed bgr8", ""])
def test_png_is_exact_and_loses_its_alpha(form):
    assert np.array_equal(decode_compressed(encode(".png", RGB[..., ::-1]), form), RGB)
    assert np.array_equal(decode_compressed(array.array("B", encode(".png", np.dstack([RGB[..., ::-1], ALPHA]))), form), RGB)


def smooth() -> np.ndarray:
    v, u = np.mgrid[0:48, 0:64]
    return np.stack([u * 3, v * 4, 200 - u - v], axis=-1).astype(np.uint8)


def test_jpeg_colours_are_those_of_the_file_whatever_the_format_field_says():
    data = encode(".jpg", smooth()[..., ::-1])
    for form in ("jpeg", "bgr8; jpeg compressed bgr8", "rgb8; jpeg compressed bgr8"):
        assert abs(decode_compressed(data, form).astype(int) - smooth()).mean() < 3


def test_exif_orientation_is_ignored():
    data = encode(".jpg", smooth()[..., ::-1])
    tiff = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"  # one entry: orientation 6, rotated
    exif = b"Exif\x00\x00" + tiff
    turned = data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (64, 48, 3)  # the tag is effective elsewhere
    assert np.array_equal(decode_compressed(turned, "jpeg"), decode_compressed(data, "jpeg"))


@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_grey_pictures_are_refused(kind):
    with pytest.raises(EncodingError, match="grey"):
        decode_compressed(encode(kind, smooth()[..., 0]), "mono8; jpeg compressed mono8")


def test_sixteen_bit_png_is_refused():
    with pytest.raises(EncodingError, match="uint16"):
        decode_compressed(encode(".png", smooth().astype(np.uint16)), "png")


@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_cut_off_files_are_refused_at_every_length(kind):
    data = encode(kind, smooth()[..., ::-1])
    lengths = [*range(64), *range(64, len(data) - 8, 37)]
    for n in lengths:
        with pytest.raises(EncodingError):
            decode_compressed(data[:n], kind[1:])
    assert decode_compressed(data + bytes(5000), kind[1:]).shape == (48, 64, 3)  # cameras pad their buffers with zeros


def test_corrupt_bytes_never_end_in_anything_but_an_encoding_error():
    rng = np.random.default_rng(5)
    for kind in (".jpg", ".png"):
        data = np.frombuffer(encode(kind, smooth()[..., ::-1]), np.uint8)
        for _ in range(60):
            broken = data.copy()
            broken[rng.integers(0, len(data), 12)] = rng.integers(0, 256, 12)
            try:
                rgb = decode_compressed(broken.tobytes(), kind[1:])
            except EncodingError:
                continue
            assert rgb.dtype == np.uint8
            assert rgb.shape[2] == 3
    with pytest.raises(EncodingError, match="not decodable"):
        decode_compressed(b"hello", "jpeg")


@pytest.mark.parametrize("form", ["16UC1; compressedDepth png", "h264", "hevc"])
def test_video_and_depth_are_refused_by_name(form):
    with pytest.raises(EncodingError, match="expected JPEG or PNG"):
        decode_compressed(b"1234", form)


def test_the_list_of_encodings_is_complete():
    assert set(RAW_ENCODINGS) == {"rgb8", "bgr8", "rgba8", "bgra8", "yuv422", "uyvy", "yuv422_yuy2", "yuyv"}
