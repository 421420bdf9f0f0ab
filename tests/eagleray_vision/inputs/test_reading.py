"""Bad photographs: each is handled, or refused under its name."""

import io
import re

import numpy as np
import pytest
from PIL import Image
from tests.eagleray_vision.small_data import photo

from eagleray_vision.images.errors import ImageError, UnreadableImageError, UnsupportedImageError
from eagleray_vision.inputs import list_inputs, load_input
from eagleray_vision.samples.placement import ImageNormalization, evaluation_placement

PLAIN = ImageNormalization((0, 0, 0), (1, 1, 1))
LARGEST_PX = 1 << 25
ORIENTATION_TAG = 0x0112


def load(path, shortest_px=24, longest_max_px=64):
    (item,) = list_inputs([path])
    return load_item(item, shortest_px, longest_max_px)


def load_item(item, shortest_px=24, longest_max_px=64):
    def place(size_hw):
        return evaluation_placement(size_hw, shortest_px=shortest_px, longest_max_px=longest_max_px)

    return load_input(item, place, PLAIN, max_network_px=LARGEST_PX, hint="make it smaller")


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(**options):
    return encoded(Image.fromarray(photo()), "JPEG", quality=95, **options)


REFUSED = {
    "zero_bytes.jpg": b"",
    "text.jpg": b"this is no picture\n" * 20,
    "only_a_header.jpg": b"\xff\xd8\xff",
    "truncated.jpg": jpeg()[:-400],
    "truncated.png": encoded(Image.fromarray(photo()), "PNG")[:-200],
    "html_error_page.png": b"<html><body>404</body></html>",
    "floating_point.tiff": encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_file_that_is_no_usable_photograph_is_refused_by_its_name(tmp_path, name):
    (tmp_path / name).write_bytes(REFUSED[name])
    with pytest.raises(ImageError, match=re.escape(name)):
        load(tmp_path / name)


def test_broken_link_is_refused_by_its_name(tmp_path):
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (item,) = list_inputs([tmp_path])
    with pytest.raises(UnreadableImageError, match=r"gone\.jpg.*No such file"):
        load_item(item)


def upright(stored, orientation):
    """Turn stored pixels as the EXIF standard says (row 0 and column 0 are which side?)."""
    return {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: stored.transpose(1, 0, 2)[:, ::-1],
        7: stored.transpose(1, 0, 2)[::-1, ::-1],
        8: stored.transpose(1, 0, 2)[::-1],
    }[orientation]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_photograph_is_turned_upright_by_its_exif_tag(tmp_path, orientation, kind):
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    content = encoded(Image.fromarray(photo()), kind, exif=exif)
    (tmp_path / "a.jpg").write_bytes(content)
    stored = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    sample = load(tmp_path / "a.jpg")
    assert np.array_equal(sample.photo, upright(stored, orientation))
    assert sample.output_hw == ((64, 96) if orientation <= 4 else (96, 64))
    assert sample.network_hw == ((24, 36) if orientation <= 4 else (36, 24))


def test_orientation_that_does_not_exist_is_ignored(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 17
    (tmp_path / "a.jpg").write_bytes(jpeg(exif=exif))
    assert load(tmp_path / "a.jpg").output_hw == (64, 96)


GREY = photo()[..., 0]
RED_IS_GREY = np.repeat(GREY[:, :, None], 3, axis=2)
MODES = {
    "grey": (Image.fromarray(GREY), RED_IS_GREY),
    "grey_alpha": (Image.merge("LA", [Image.fromarray(GREY)] * 2), RED_IS_GREY),
    "grey_16_bit": (Image.fromarray(GREY.astype(np.uint16) * 257), RED_IS_GREY),
    "rgba": (Image.fromarray(np.dstack([photo(), GREY])), photo()),
    "palette": (
        Image.fromarray(photo()).quantize(64),
        np.asarray(Image.fromarray(photo()).quantize(64).convert("RGB")),
    ),
    "bilevel": (Image.fromarray(GREY > 127), np.repeat((GREY > 127)[:, :, None] * 255, 3, axis=2)),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_kind_of_png_becomes_rgb(tmp_path, mode):
    image, expected = MODES[mode]
    image.save(tmp_path / "a.png")
    assert np.array_equal(load(tmp_path / "a.png").photo, expected)


def test_cmyk_jpeg_becomes_rgb(tmp_path):
    Image.fromarray(photo()).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    found = load(tmp_path / "a.jpg").photo
    assert np.abs(found.astype(int) - photo()).mean() < 8


def test_16_bit_color_png_keeps_the_upper_byte(tmp_path):
    cv2 = pytest.importorskip("cv2")
    cv2.imwrite(str(tmp_path / "a.png"), photo()[..., ::-1].astype(np.uint16) * 257)
    assert np.array_equal(load(tmp_path / "a.png").photo, photo())


def test_single_pixel_is_enlarged_to_the_input(tmp_path):
    Image.fromarray(np.full((1, 1, 3), 51, np.uint8)).save(tmp_path / "a.png")
    sample = load(tmp_path / "a.png")
    assert (sample.output_hw, sample.network_hw) == ((1, 1), (24, 24))
    assert float(sample.image.min()) == float(sample.image.max()) == pytest.approx(0.2)


@pytest.mark.parametrize("size", [(1, 300), (300, 1)])
def test_line_of_pixels_keeps_at_least_one_row(tmp_path, size):
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save(tmp_path / "a.png")
    assert sorted(load(tmp_path / "a.png").network_hw) == [1, 64]


def test_very_wide_photograph_is_reduced_to_the_longest_side(tmp_path):
    Image.fromarray(np.zeros((90, 12_000), np.uint8)).save(tmp_path / "wide.png")
    sample = load(tmp_path / "wide.png", 1024, 2048)
    assert (sample.output_hw, sample.network_hw) == ((90, 12_000), (15, 2048))


def test_very_wide_photograph_that_the_original_would_enlarge_is_refused(tmp_path):
    Image.fromarray(np.zeros((90, 12_000), np.uint8)).save(tmp_path / "wide.png")
    with pytest.raises(
        UnsupportedImageError, match=r"wide\.png: 12000 x 90.*136533 x 1024.*make it smaller"
    ):
        load(tmp_path / "wide.png", 1024, None)


def test_shape_of_usual_photographs_is_taken_at_the_size_of_the_vistas_configuration(tmp_path):
    Image.fromarray(np.zeros((60, 80), np.uint8)).save(tmp_path / "a.png")
    assert load(tmp_path / "a.png", 1920, None).network_hw == (
        1920,
        2560,
    )
