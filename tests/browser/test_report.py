"""The report in a real browser, from the disk and without a network."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect
from tests.browser.conftest import Visit

from eagleray.report import report_html
from eagleray.sweep.folder import find_sweep

pytestmark = pytest.mark.browser


def test_a_report_opens_from_the_disk_without_a_network(chromium, storage, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(report_html(str(storage), ["exp/main-0", "exp/main-1"]), encoding="utf-8")
    visit = Visit(chromium, path.as_uri(), offline=True)
    page = visit.open("")
    curves = page.locator("#curves + .grid .js-plotly-plot")
    # of each run its points and the smoothed line
    expect(curves.first.locator(".scatterlayer .trace")).to_have_count(2 * 2)
    for image in page.locator(".pictures img").all():
        assert image.evaluate("image => image.naturalWidth") > 0
    page.locator("summary", has_text="Per class").first.click()
    expect(page.get_by_role("cell", name="building").first).to_be_visible()
    assert visit.foreign == []
    assert visit.errors == []
    visit.context.close()


def test_a_sweep_in_a_report_has_its_table_and_figures(chromium, storage, tmp_path):
    path = tmp_path / "report.html"
    sweeps = [find_sweep(str(storage), name) for name in ("heads-1", "lr-2")]
    path.write_text(report_html(str(storage), ["exp/main-0"], sweeps=sweeps), encoding="utf-8")
    visit = Visit(chromium, path.as_uri(), offline=True)
    page = visit.open("")
    page.get_by_role("link", name="exp/heads-1").click()
    expect(page.locator("#sweep-1")).to_be_in_viewport()
    expect(page.get_by_role("row", name="plain_head").locator("td").first).to_be_visible()
    wide = page.locator(".panel.wide:not(details *) .js-plotly-plot")
    expect(wide).to_have_count(4)
    expect(wide.first.locator(".scatterlayer .point")).to_have_count(14 + 5)
    expect(page.locator("#curves + .grid .js-plotly-plot").first).to_be_attached()
    assert visit.foreign == []
    assert visit.errors == []
    visit.context.close()
