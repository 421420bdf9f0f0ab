"""Sizes of the feature store against what was derived from the original's own figures."""

import re
from pathlib import Path

import pytest

from eagleray_pop3d.feature_costs import ALL_CODECS, cost_table, gpu_hours, store_costs

PAGE = Path(__file__).resolve().parents[2] / "docs" / "originals" / "pop3d.md"
TRAINVAL, WITH_TEST = 204_894, 240_942


def published() -> list[tuple[float, float, float]]:
    """Bytes, GB of trainval and GB with test: the table of section 4, in its order."""
    section = PAGE.read_text().partition("## 4.")[2].partition("## 5.")[0]
    rows = re.findall(r"\| (\d+) \| ([\d. ]+) GB \| ([\d. ]+) GB \|", section)
    return [tuple(float(v.replace(" ", "")) for v in row) for row in rows]


def test_sizes_are_those_of_the_page():
    table = published()
    assert len(table) == len(ALL_CODECS)
    parts = zip(table, store_costs(TRAINVAL), store_costs(WITH_TEST), strict=True)
    for (size, trainval, whole), ours, with_test in parts:
        assert ours.bytes_per_match == size
        assert ours.codes_gb == pytest.approx(trainval, rel=0.05)
        assert with_test.codes_gb == pytest.approx(whole, rel=0.05)


def test_hours_are_those_of_the_page():
    assert 2 <= gpu_hours(TRAINVAL) <= 3
    assert gpu_hours(168_780, 12) == pytest.approx(24, rel=0.1)


def test_the_chosen_codec_is_marked():
    text = cost_table(28_130, 6, epochs=12, chosen="opq50")
    (line,) = (one for one in text.splitlines() if "<- chosen" in one)
    assert line.split()[:2] == ["opq50", "50"] and "streamed: nothing stored" in text
    assert cost_table(10, 6, epochs=1, chosen="pq64").count("pq64") == 1
