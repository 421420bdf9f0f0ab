"""Photographs of every kind become 8-bit RGB or a typed error."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eagleray.task import InputError
from eagleray_vision.images.errors import UnreadableImageError, UnsupportedImageError
from eagleray_vision.images.reading import read_rgb

RNG = np.random.default_rng(0)
COLORS = RNG.integers(0, 256, (8, 10, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_rgb_png_comes_back_as_it_is(tmp_path):
    data = encoded(Image.fromarray(COLORS))
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    assert np.array_equal(read_rgb(path), COLORS)
    assert np.array_equal(read_rgb(str(path)), COLORS)
    assert np.array_equal(read_rgb(data), COLORS)


def test_result_can_be_written_to():
    image = read_rgb(encoded(Image.fromarray(COLORS)))
    image[0, 0] = 0
    assert image.flags.c_contiguous


def test_grey_image_has_three_equal_channels():
    grey = COLORS[..., 0]
    assert np.array_equal(read_rgb(encoded(Image.fromarray(grey))), np.dstack([grey] * 3))


def test_black_and_white_image_uses_the_full_range():
    bits = Image.fromarray(COLORS[..., 0] > 127)
    assert bits.mode == "1"
    assert set(np.unique(read_rgb(encoded(bits)))) == {0, 255}


def test_sixteen_bit_grey_is_scaled():
    deep = np.array([[0, 256, 32896, 65535]], dtype=np.uint16)
    assert read_rgb(encoded(Image.fromarray(deep)))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_thirty_two_bit_grey_beyond_sixteen_bits_is_refused():
    wide = Image.fromarray(np.array([[70000]], dtype=np.int32))
    with pytest.raises(UnsupportedImageError, match="70000"):
        read_rgb(encoded(wide, "TIFF"))


def test_floating_point_image_is_refused():
    with pytest.raises(UnsupportedImageError, match="floating-point"):
        read_rgb(encoded(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"))


def test_palette_image_gives_its_colors():
    palette = Image.fromarray(COLORS).quantize(16)
    assert np.array_equal(read_rgb(encoded(palette)), np.asarray(palette.convert("RGB")))


def test_transparent_palette_image_keeps_its_colors():
    palette = Image.fromarray(COLORS).quantize(16)
    data = encoded(palette, transparency=0)
    assert np.array_equal(read_rgb(data), np.asarray(palette.convert("RGB")))


def test_alpha_is_dropped():
    alpha = np.dstack([COLORS, np.zeros((8, 10), np.uint8)])
    assert np.array_equal(read_rgb(encoded(Image.fromarray(alpha))), COLORS)


def test_cmyk_jpeg_is_converted():
    blue = Image.new("RGB", (16, 16), (20, 40, 220)).convert("CMYK")
    found = read_rgb(encoded(blue, "JPEG", quality=95)).mean(axis=(0, 1))
    assert np.abs(found - (20, 40, 220)).max() < 12


def test_orientation_is_applied_on_request():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    data = encoded(Image.fromarray(COLORS), "PNG", exif=exif)
    assert read_rgb(data).shape == (8, 10, 3)
    upright = read_rgb(data, apply_orientation=True)
    assert np.array_equal(upright, np.rot90(COLORS, -1))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_truncated_file_is_refused(kind):
    big = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encoded(big, kind)
    with pytest.raises(UnreadableImageError, match="damaged"):
        read_rgb(data[: len(data) // 2])


def test_empty_file_is_refused(tmp_path):
    path = tmp_path / "empty.png"
    path.touch()
    with pytest.raises(UnreadableImageError, match="empty"):
        read_rgb(path)


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(UnreadableImageError, match="cannot be read"):
        read_rgb(tmp_path / "nothing.jpg")
    with pytest.raises(UnreadableImageError, match="cannot be read"):
        read_rgb(tmp_path)


def test_text_file_is_refused():
    with pytest.raises(UnreadableImageError, match="not an image"):
        read_rgb(b"<html>404</html>")


def test_huge_image_is_refused_before_it_is_decoded():
    data = encoded(Image.fromarray(COLORS))
    with pytest.raises(UnsupportedImageError, match="80 pixels, at most 79"):
        read_rgb(data, max_pixels=79)
    bomb = bytearray(encoded(Image.new("1", (1, 1))))
    bomb[16:24] = (60000).to_bytes(4, "big") * 2
    with pytest.raises((UnsupportedImageError, UnreadableImageError)):
        read_rgb(bytes(bomb))


def test_errors_make_rejects():
    assert issubclass(UnreadableImageError, InputError)
    assert issubclass(UnsupportedImageError, InputError)


@pytest.mark.timeout(20)
def test_pipe_and_device_are_refused_at_once(tmp_path):
    pipe = tmp_path / "photo.png"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(UnreadableImageError, match="no regular file"):
            read_rgb(path)


@pytest.mark.parametrize("kind", ["EPS", "PDF"])
def test_formats_that_run_other_programs_are_not_tried(kind):
    with pytest.raises(UnreadableImageError, match="accepted are JPEG"):
        read_rgb(encoded(Image.fromarray(COLORS), kind))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "PPM"])
def test_usual_formats_are_read(kind):
    assert read_rgb(encoded(Image.fromarray(COLORS), kind)).shape == COLORS.shape
