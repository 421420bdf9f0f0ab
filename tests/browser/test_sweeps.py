"""The pages of sweeps in a real browser: content, filter, order, scatter, links, narrow screens."""

from __future__ import annotations

import json
import shutil

import pytest
from playwright.sync_api import expect
from tests.browser.conftest import PATIENCE_MS, Visit
from tests.browser.test_dashboard import background, query_of

pytestmark = pytest.mark.browser

expect.set_options(timeout=PATIENCE_MS)

ABLATIONS, SEARCH = "/sweep/exp/heads-1", "/sweep/exp/lr-2"


def table_of(page, number):
    return page.locator("#content table").nth(number)


def trials_shown(page):
    return page.locator("#content table").last.locator("tbody .name")


def test_the_list_leads_to_a_sweep(visit):
    page = visit.open()
    page.get_by_role("link", name="Sweeps").click()
    expect(page.locator("h1")).to_have_text("Sweeps")
    expect(page.locator("td a.name")).to_have_count(2)
    page.get_by_role("link", name="exp/heads-1").click()
    expect(page.locator("h1")).to_have_text("exp/heads-1")
    expect(page).to_have_title("exp/heads-1 · eagleray")


def test_sweeps_are_filtered_and_sorted(visit):
    page = visit.open("/sweeps?sort=sweep")
    names = page.locator("td a.name")
    expect(names).to_have_text(["exp/heads-1", "exp/lr-2"])
    page.get_by_role("link", name="sweep ↑").click()
    expect(names).to_have_text(["exp/lr-2", "exp/heads-1"])
    page.locator(".controls input").first.fill("heads")
    expect(names).to_have_text(["exp/heads-1"])
    assert query_of(page) == {"sort": "-sweep", "q": "heads"}


def test_variants_stand_in_a_table_with_the_best_one_bold(visit):
    page = visit.open(ABLATIONS)
    rows = table_of(page, 0).locator("tbody tr")
    expect(rows).to_have_count(5)
    expect(rows.first).to_contain_text("baseline")
    expect(rows.nth(1)).to_contain_text("settings.head=fpn")
    expect(table_of(page, 0).locator("strong").first).to_contain_text("±")
    expect(page.get_by_role("cell", name="2 done, 1 failed")).to_be_visible()
    dots = page.locator(".js-plotly-plot").first.locator(".scatterlayer .point")
    expect(dots).to_have_count(14 + 5)


def test_a_click_on_a_variant_shows_its_trials(visit):
    page = visit.open(ABLATIONS)
    page.get_by_role("link", name="plain_head", exact=True).click()
    expect(trials_shown(page)).to_have_count(3)
    expect(page.locator("#count")).to_have_text("3 of 15 trials")
    assert query_of(page) == {"q": "plain_head"}


def test_a_filter_chooses_trials_and_figures_and_is_kept_in_the_address(visit, storage):
    trials = [json.loads(p.read_text()) for p in (storage / "sweeps/exp/lr-2/trials").iterdir()]
    chosen = sum(
        t["state"] == "done" and t["overrides"]["settings.backbone"] == "resnet50" for t in trials
    )
    page = visit.open(SEARCH)
    expect(page.locator("#count")).to_have_text("21 trials")
    page.locator(".controls input").first.fill("backbone=resnet50 state=done")
    expect(page.locator("#count")).to_have_text(f"{chosen} of 21 trials")
    expect(trials_shown(page)).to_have_count(chosen)
    scatter = page.locator(".js-plotly-plot").last
    expect(scatter.locator(".scatterlayer .point")).to_have_count(chosen)
    page.reload()
    expect(trials_shown(page)).to_have_count(chosen)


def test_trials_are_sorted_by_a_searched_setting(visit):
    page = visit.open(SEARCH)
    page.get_by_role("link", name="lr", exact=True).click()
    expect(page.get_by_role("link", name="lr ↓")).to_be_visible()
    cells = table_of(page, 0).locator("tbody tr td:nth-child(3)").all_inner_texts()
    values = [float(text) for text in cells]
    assert values == sorted(values, reverse=True)
    assert query_of(page) == {"sort": "-train.phases.0.lr"}


def test_the_scatters_axis_is_chosen(visit):
    page = visit.open(SEARCH)
    scatter = page.locator(".js-plotly-plot").last
    expect(scatter.locator(".gtitle")).to_have_text("miou over lr")
    assert scatter.evaluate("p => p.layout.xaxis.type") == "log"
    page.locator(".control", has_text="Scatter over").locator("button").click()
    page.get_by_role("option", name="device-hours").click()
    scatter = page.locator(".js-plotly-plot").last
    expect(scatter.locator(".gtitle")).to_have_text("miou over device-hours")
    assert query_of(page) == {"x": "device-hours"}
    page.reload()
    expect(page.locator(".js-plotly-plot").last.locator(".gtitle")).to_have_text(
        "miou over device-hours"
    )


def test_parallel_coordinates_have_an_axis_per_setting_and_a_line_per_trial(visit, storage):
    page = visit.open(SEARCH)
    lines = page.locator(".js-plotly-plot").first
    expect(lines.locator(".annotation b, .annotation tspan").first).to_be_attached()
    shown = " ".join(lines.locator(".annotation").all_text_contents())
    for axis in ("lr", "batch_size", "backbone", "miou", "resnet101"):
        assert axis in shown
    trials = [json.loads(p.read_text()) for p in (storage / "sweeps/exp/lr-2/trials").iterdir()]
    drawn = lines.evaluate("p => p.data.flatMap(t => [...t.x]).filter(x => x === null).length")
    assert drawn == sum(trial["value"] is not None for trial in trials)


def test_a_click_on_a_point_opens_the_trials_run(visit):
    page = visit.open(SEARCH)
    scatter = page.locator(".js-plotly-plot").last
    scatter.locator(".scatterlayer .point").first.wait_for()
    scatter.scroll_into_view_if_needed()
    box = scatter.locator(".scatterlayer .point").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_timeout(300)
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_url("**/run/exp/main-*")
    expect(page.locator("h1")).to_contain_text("exp/main-")
    page.go_back()
    expect(page.locator("h1")).to_have_text("exp/lr-2")


def test_a_trial_leads_to_its_run_and_the_best_to_their_comparison(visit):
    page = visit.open(SEARCH)
    trials_shown(page).first.click()
    expect(page.locator("h1")).to_contain_text("exp/main-")
    page.go_back()
    page.locator("#compare").click()
    expect(page.locator("h1")).to_have_text("Compare")


def test_the_table_can_be_copied_as_latex(visit):
    page = visit.open(ABLATIONS)
    page.get_by_text("The table as LaTeX").click()
    expect(page.locator("pre", has_text=r"\toprule")).to_be_visible()
    expect(page.locator("pre", has_text=r"plain\_head & ")).to_be_visible()


def test_a_finished_trial_is_seen_without_a_reload(visit, storage):
    page = visit.open(ABLATIONS)
    expect(page.get_by_role("cell", name="2 done, 1 failed")).to_be_visible()
    path = storage / "sweeps/exp/heads-1/trials/half_lr-2.json"
    trial = json.loads(path.read_text())
    path.write_text(json.dumps({**trial, "state": "done", "value": 0.6, "error": None}))
    page.get_by_role("cell", name="2 done, 1 failed").wait_for(state="hidden")
    expect(table_of(page, 0)).not_to_contain_text("failed")


def test_a_sweep_that_is_deleted_while_shown_says_so(visit, storage):
    page = visit.open(SEARCH)
    expect(page.locator("#count")).to_have_text("21 trials")
    shutil.rmtree(storage / "sweeps/exp/lr-2")
    expect(page.get_by_role("alert")).to_contain_text("no sweep 'exp/lr-2'")


def test_trials_can_be_reached_by_keyboard_alone(visit):
    page = visit.open(f"{SEARCH}?q=trial-0000")
    expect(trials_shown(page)).to_have_count(1)
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "trial-0000":
            break
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("exp/main-0")


@pytest.mark.parametrize("address", ["/sweeps", ABLATIONS, SEARCH])
def test_narrow_screens_do_not_scroll_sideways(visit, address):
    visit.page.set_viewport_size({"width": 360, "height": 700})
    page = visit.open(address)
    expect(page.locator("#content > *").first).to_be_attached()
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_figures_of_a_sweep_are_readable_in_the_dark(chromium, served):
    visit = Visit(chromium, served, color_scheme="dark")
    page = visit.open(SEARCH)
    label = page.locator(".js-plotly-plot .annotation text").first
    label.wait_for()
    color = label.evaluate("node => getComputedStyle(node).fill")
    brightness = sum(int(v) for v in color[4:-1].split(",")) / 3
    assert background(page) < 60 < 120 < brightness
    visit.context.close()


def test_markup_in_a_sweep_is_not_executed(visit, storage):
    evil = '"><img src=x onerror="window.evil=1"><script>window.evil=1</script>'
    for name, trial in (("heads-1", "half_lr-0"), ("lr-2", "trial-0000")):
        folder = storage / "sweeps/exp" / name
        record = json.loads((folder / "sweep.json").read_text())
        record.update(task=evil, benchmark=evil, scheduler=evil, metric=evil, metric_unit=evil)
        record["variants"] = {**record["variants"], evil: {evil: evil}}
        record["space"] = {**record["space"], evil: evil}
        (folder / "sweep.json").write_text(json.dumps(record))
        path = folder / f"trials/{trial}.json"
        changes = {"variant": evil, "overrides": {evil: evil}, "error": evil, "values": {evil: 1.0}}
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    for address in ("/sweeps", ABLATIONS, SEARCH):
        page = visit.open(address)
        expect(page.locator("#content > *").first).to_be_attached()
        page.wait_for_timeout(700)
        assert page.evaluate("window.evil") is None, address
    expect(page.locator("h1")).to_have_text("exp/lr-2")


def test_a_store_without_sweeps_says_so(visit, storage):
    shutil.rmtree(storage / "sweeps")
    expect(visit.open("/sweeps").locator("#content")).to_contain_text("There are no sweeps in")
