"""The dashboard in a real browser: content, links, filters, keys, both themes, narrow screens."""

from __future__ import annotations

import json
import re
import shutil
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect
from tests.browser.conftest import PATIENCE_MS, Visit, serving

from eagleray.dashboard import make_app
from eagleray.dashboard.app import LOOK_EVERY_MS
from eagleray.runs.lease import Lease
from eagleray.storage import Store

pytestmark = pytest.mark.browser

expect.set_options(timeout=PATIENCE_MS)


def query_of(page):
    return {k: v if len(v) > 1 else v[0] for k, v in parse_qs(urlsplit(page.url).query).items()}


def runs_shown(page):
    return page.locator("td a.name")


def test_typing_filters_the_runs_and_the_address_remembers_it(visit):
    page = visit.open()
    expect(runs_shown(page)).to_have_count(4)
    page.keyboard.press("/")
    page.keyboard.type("miou>0 main-1", delay=50)
    expect(runs_shown(page)).to_have_text(["exp/main-1"])
    expect(page.locator("#count")).to_have_text("1 of 4 runs")
    assert query_of(page) == {"q": "miou>0 main-1"}
    page.reload()
    expect(runs_shown(page)).to_have_text(["exp/main-1"])
    expect(page.locator(".controls input").first).to_have_value("miou>0 main-1")


def test_what_is_typed_while_the_page_is_busy_keeps_its_order(visit):
    late = "const at = setTimeout; setTimeout = (f, ms, ...a) => at(f, ms ? ms : 150, ...a);"
    visit.page.add_init_script(late)
    page = visit.open()
    expect(runs_shown(page)).to_have_count(4)
    page.keyboard.press("/")
    page.keyboard.type("main-1 seed=1", delay=40)
    expect(page.locator(".controls input").first).to_have_value("main-1 seed=1")
    expect(runs_shown(page)).to_have_text(["exp/main-1"])


def test_columns_sort_by_their_headings(visit):
    page = visit.open("/?sort=run")
    names = [f"exp/main-{i}" for i in range(3)] + ["other/main-7"]
    expect(runs_shown(page)).to_have_text(names)
    page.get_by_role("link", name="run ↑").click()
    expect(runs_shown(page)).to_have_text(names[::-1])
    assert query_of(page) == {"sort": "-run"}
    page.go_back()
    expect(runs_shown(page)).to_have_text(names)


def test_a_choice_filters_and_leaving_and_coming_back_clears_it(visit):
    page = visit.open("/?state=failed")
    expect(runs_shown(page)).to_have_text(["other/main-7"])
    page.get_by_role("link", name="Benchmarks").click()
    expect(page.locator("h1")).to_have_text("Benchmarks")
    page.get_by_role("link", name="Runs", exact=True).click()
    expect(runs_shown(page)).to_have_count(4)
    assert query_of(page) == {}


def test_best_and_last_values_stand_beside_the_papers(visit, storage):
    path = storage / "runs/exp/main-0/summary.json"
    summary = json.loads(path.read_text())
    best = summary["results"]["val/best"]
    last = {**best, "checkpoint": "last", "values": {**best["values"], "miou": 0.4321}}
    summary["results"] = {"val/best": best, "val/last": last}
    path.write_text(json.dumps(summary))
    page = visit.open("/?q=main-0")
    row = page.locator("tbody tr", has_text="exp/main-0")
    cells = row.locator("td").all_inner_texts()
    ours = best["values"]["miou"]
    assert cells[6:10] == [f"{ours:.4g}", "0.4321", "0.775", f"{ours - 0.775:+.4g}"]


def test_a_live_run_is_marked_and_its_step_goes_on(visit, storage):
    run = Store(str(storage)).child("runs/exp/main-0")
    run.write("summary.json", json.dumps({"task": "seamseg", "state": "training"}).encode())
    line = {"kind": "train", "phase": "main", "step": 41, "total_step": 41, "loss": 0.5}
    run.write("log/live.json", json.dumps(line).encode())
    with Lease(run):
        page = visit.open("/?q=main-0")
        row = page.locator("tbody tr", has_text="exp/main-0")
        expect(row.locator(".state.live")).to_have_text("training")
        expect(row).to_contain_text("41")
        run.write("log/live.json", json.dumps({**line, "step": 42, "total_step": 42}).encode())
        expect(row).to_contain_text("42")
    expect(row.locator(".state")).to_have_text("interrupted")


def test_picked_runs_are_compared_with_overlaid_curves(visit):
    page = visit.open("/?sort=run")
    page.locator("td input[type=checkbox]").nth(0).check()
    expect(page.locator("#compare")).to_have_text("Look at the curves of 1 run")
    page.locator("td input[type=checkbox]").nth(2).check()
    expect(page.locator("#compare")).to_have_text("Compare 2 runs")
    page.locator("#compare").click()
    expect(page.locator("h1")).to_have_text("Compare")
    assert query_of(page) == {"run": ["exp/main-0", "exp/main-2"]}
    expect(page.get_by_role("cell", name="train.phases.0.lr")).to_be_visible()
    expect(page.get_by_text("momentum")).to_have_count(0)
    validation = page.locator(".js-plotly-plot").first
    # of each run its points and the smoothed line
    expect(validation.locator(".scatterlayer .trace")).to_have_count(2 * 2)
    names = validation.evaluate("p => p.data.map(t => t.name)")
    assert names == ["main-0", "main-0", "main-2", "main-2"]
    expect(page.locator(".keys a")).to_have_text(["exp/main-0", "exp/main-2"])
    expect(page).to_have_title("Compare · eagleray")


def test_curves_are_smoothed_by_a_slider_that_obeys_the_keyboard(visit):
    page = visit.open("/run/exp/main-0?find=train/loss")
    traces = page.locator(".js-plotly-plot").first.locator(".scatterlayer .trace")
    expect(traces).to_have_count(2)
    page.get_by_role("slider").focus()
    page.keyboard.press("Home")
    expect(traces).to_have_count(1)
    assert query_of(page)["smooth"] == "0"
    page.reload()
    expect(page.locator(".js-plotly-plot").first.locator(".scatterlayer .trace")).to_have_count(1)


@pytest.mark.parametrize(
    ("tab", "expected"),
    [
        ("results", "made up"),
        ("settings", "train.phases.0.lr"),
        ("environment", "packages.torch"),
        ("rejects", "scene-broken"),
        ("log", "step 10: <b>goes on</b>"),
    ],
)
def test_every_part_of_a_run_has_a_tab_and_a_link(visit, tab, expected):
    page = visit.open("/run/exp/main-0")
    page.get_by_role("link", name=tab, exact=True).click()
    expect(page.locator("#content")).to_contain_text(expected)
    assert query_of(page) == {"tab": tab}
    page.reload()
    expect(page.locator("#content")).to_contain_text(expected)


def test_settings_are_compared_with_a_chosen_run(visit):
    page = visit.open("/run/exp/main-0?tab=settings&against=exp/main-1")
    expect(page.locator("#content tbody tr")).to_have_count(2)
    page.locator(".controls input").first.fill("seed")
    expect(page.locator("#content tbody tr")).to_have_count(1)
    expect(page.locator("#content tbody tr")).to_contain_text("seed")


def test_benchmarks_show_papers_and_ours(visit):
    page = visit.open("/benchmarks?task=seamseg&checkpoint=best")
    expect(page.get_by_text("the best of 3 runs")).to_be_visible()
    expect(page.get_by_role("cell", name="0.775")).to_be_visible()
    expect(page.locator(".js-plotly-plot .bars .point")).to_have_count(1)


def test_benchmarks_of_every_installed_task_are_shown_and_can_be_chosen(visit):
    page = visit.open("/benchmarks")
    expect(page.get_by_role("heading", name="omniseg3d")).to_be_visible()
    expect(page.get_by_text("Not evaluated yet.").first).to_be_visible()
    page.reload()
    page.wait_for_selector(".controls button")
    page.locator(".control", has_text="Task").locator("button").click()
    page.get_by_role("option", name="seamseg", exact=True).click()
    expect(page.locator("h2")).to_have_text(["seamseg"])
    assert query_of(page) == {"task": "seamseg"}
    page.locator("#content p a").first.click()
    expect(page.locator("h1")).to_contain_text("exp/main-")
    assert query_of(page) == {"tab": "results"}


def test_the_gallery_shows_the_worst_first_and_opens_a_unit(visit):
    page = visit.open("/gallery?run=exp/main-0")
    cards = page.locator(".card")
    expect(cards).to_have_count(3)
    values = [float(re.search(r"miou ([\d.]+)", t).group(1)) for t in cards.all_inner_texts()]
    assert values == sorted(values)
    for image in page.locator(".card img").all():
        expect(image).to_have_js_property("complete", True)
        assert image.evaluate("image => image.naturalWidth") > 0
    first = cards.first.locator(".name").inner_text()
    cards.first.click()
    expect(page.locator("h2")).to_have_text(first)
    assert query_of(page)["unit"] == first


def test_the_gallery_says_which_run_it_shows(visit):
    page = visit.open("/gallery")
    expect(page.locator(".card")).to_have_count(3)
    page.wait_for_url("**/gallery?run=exp%2Fmain-0")


def test_a_linked_unit_is_drawn_once(visit):
    page = visit.open("/gallery?run=exp/main-0&unit=scene-0001&left=input")
    page.locator("#overlay").evaluate("overlay => overlay.setAttribute('data-first', '1')")
    page.wait_for_timeout(3000)
    expect(page.locator("#overlay")).to_have_attribute("data-first", "1")


def test_the_gallery_filters_by_a_number(visit):
    page = visit.open("/gallery?run=exp/main-0")
    cards = page.locator(".card")
    expect(cards).to_have_count(3)
    worst = float(re.search(r"miou ([\d.]+)", cards.first.inner_text()).group(1))
    page.locator(".controls input[type=search]").fill(f"miou>{worst + 0.001:.4f}")
    expect(cards).to_have_count(2)


def test_the_gallery_is_ordered_by_a_chosen_number(visit):
    page = visit.open("/gallery?run=exp/main-0&order=best")
    cards = page.locator(".card")
    expect(cards).to_have_count(3)
    best = [float(re.search(r"miou ([\d.]+)", t).group(1)) for t in cards.all_inner_texts()]
    assert best == sorted(best, reverse=True)
    page.locator(".control", has_text="By").locator("button").click()
    page.get_by_role("option", name="pixels").click()
    expect(cards.first.locator(".dim")).to_contain_text("pixels")
    assert query_of(page)["metric"] == "pixels"


def overlaid_share(page):
    """Return how many percent of the picture's width the upper picture covers."""
    clip = page.locator("#overlay .over").evaluate("image => getComputedStyle(image).clipPath")
    hidden = re.search(r"inset\(\S+ (?:calc\(100% - )?([\d.]+)%", clip)
    assert hidden, clip
    share = float(hidden.group(1))
    return share if "calc" in clip else 100 - share


def test_the_slider_lays_two_pictures_over_each_other(visit):
    page = visit.open("/gallery?run=exp/main-0&unit=scene-0001&left=input")
    overlay = page.locator("#overlay")
    expect(overlay).to_have_attribute("aria-valuenow", "50")
    assert overlaid_share(page) == pytest.approx(50)
    page.keyboard.press("ArrowLeft")
    expect(overlay).to_have_attribute("aria-valuenow", "48")
    expect(page.locator(".labeled canvas").first).to_be_visible()  # above, so it moves the slider
    overlay.scroll_into_view_if_needed()
    box = overlay.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.2, middle, steps=4)
    page.mouse.up()
    expect(overlay).to_have_attribute("aria-valuenow", "20")
    assert overlaid_share(page) == pytest.approx(20, abs=0.5)
    page.keyboard.press("ArrowRight")
    expect(overlay).to_have_attribute("aria-valuenow", "22")
    page.keyboard.press("End")
    assert overlaid_share(page) == pytest.approx(100)


def test_keys_lead_to_the_next_and_the_previous_unit(visit):
    page = visit.open("/gallery?run=exp/main-0&order=given&unit=scene-0000")
    expect(page.locator("h2")).to_have_text("scene-0000")
    page.keyboard.press("n")
    expect(page.locator("h2")).to_have_text("scene-0001")
    page.keyboard.press("p")
    expect(page.locator("h2")).to_have_text("scene-0000")


def test_links_can_be_reached_and_followed_by_keyboard_alone(visit):
    page = visit.open("/?sort=run")
    expect(runs_shown(page)).to_have_count(4)
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "exp/main-0":
            break
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "the focus is visible"
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("exp/main-0")


def test_a_dashboard_with_a_token_opens_to_those_who_know_it(chromium, storage, tmp_path):
    app = make_app(str(storage), cache=tmp_path / "cache", token="s3cret")
    with serving(app.server) as address:
        stranger = Visit(chromium, address)
        assert stranger.page.goto(address).status == 401
        assert "exp/main-0" not in stranger.page.content()
        stranger.context.close()
        guest = Visit(chromium, address)
        page = guest.open("/sweeps?token=s3cret&sort=sweep")
        expect(page.locator("td a.name").first).to_have_text("exp/heads-1")
        assert "s3cret" not in page.url
        assert query_of(page) == {"sort": "sweep"}
        page.get_by_role("link", name="Runs", exact=True).click()
        expect(runs_shown(page)).to_have_count(4)
        assert page.evaluate("document.cookie") == "", "scripts cannot read the token"
        assert (guest.foreign, guest.errors) == ([], [])
        guest.context.close()


def background(page):
    color = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(int(v) for v in re.findall(r"\d+", color)[:3]) / 3


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_the_theme_follows_the_system_until_it_is_switched(chromium, served, scheme, is_dark):
    visit = Visit(chromium, served, color_scheme=scheme)
    page = visit.open()
    assert (background(page) < 100) is is_dark
    page.get_by_role("button", name="Dark or light").click()
    assert (background(page) < 100) is not is_dark
    page.reload()
    page.wait_for_selector("h1")
    assert (background(page) < 100) is not is_dark
    visit.context.close()


@pytest.mark.parametrize(
    "address",
    [
        "/",
        "/run/exp/main-0",
        "/run/exp/main-0?tab=settings",
        "/compare?run=exp/main-0&run=exp/main-1",
        "/benchmarks",
        "/gallery?run=exp/main-0",
        "/gallery?run=exp/main-0&unit=scene-0000",
    ],
)
def test_narrow_screens_do_not_scroll_sideways(visit, address):
    visit.page.set_viewport_size({"width": 360, "height": 700})
    page = visit.open(address)
    expect(page.locator("#content > *").first).to_be_attached()
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_new_metric_is_seen_without_a_reload(visit, storage):
    assert LOOK_EVERY_MS < 5_000  # how late it may be seen
    page = visit.open("/run/exp/main-0")
    expect(page.locator(".js-plotly-plot")).not_to_have_count(0)
    line = {"kind": "train", "phase": "main", "step": 61, "total_step": 61, "fresh": 1.0}
    (storage / "runs/exp/main-0/log/live.json").write_text(json.dumps(line))
    page.get_by_text("train/fresh over step").wait_for()


def test_zoom_stays_while_new_points_come_in(visit, storage):
    page = visit.open("/run/exp/main-0?find=train/loss&smooth=0")
    plot = page.locator(".js-plotly-plot").first
    plot.locator(".scatterlayer .trace").wait_for()
    area = plot.locator(".nsewdrag").bounding_box()
    middle = area["y"] + area["height"] / 2
    page.mouse.move(area["x"] + area["width"] * 0.25, middle)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] * 0.5, middle, steps=5)
    page.mouse.up()
    zoomed = plot.evaluate("p => p.layout.xaxis.range")
    assert zoomed == [pytest.approx(10, abs=2), pytest.approx(20, abs=2)]
    line = {"kind": "train", "phase": "main", "step": 500, "total_step": 500, "loss": 1.0}
    (storage / "runs/exp/main-0/log/live.json").write_text(json.dumps(line))
    page.wait_for_function(
        "() => document.querySelector('.js-plotly-plot').calcdata[0].some(p => p.x === 500)"
    )
    assert plot.evaluate("p => p.layout.xaxis.range") == zoomed


def test_a_run_that_is_deleted_while_shown_says_so(visit, storage):
    page = visit.open("/run/exp/main-0")
    expect(page.locator(".js-plotly-plot")).not_to_have_count(0)
    shutil.rmtree(storage / "runs/exp/main-0")
    expect(page.get_by_role("alert")).to_contain_text(
        "no run 'exp/main-0' in this store (any more)"
    )


def test_markup_in_names_and_files_is_not_executed(visit, storage):
    evil = '"><img src=x onerror="window.evil=1"><script>window.evil=1</script>'
    run = storage / "runs/exp/main-0"
    (storage / "runs/exp" / evil.replace("/", "")).mkdir()
    result = json.loads((run / "evaluation/val/best.json").read_text())
    result.update(protocol=evil, per_class={evil: {evil: 1.0}}, values={evil: 1.0, "miou": 0.5})
    summary = json.loads((run / "summary.json").read_text())
    summary.update(task=evil, error=evil, results={"val/best": result})
    (run / "summary.json").write_text(json.dumps(summary))
    (run / "evaluation/val/best.json").write_text(json.dumps(result))
    line = {"kind": "train", "total_step": 99, evil: 1.0}
    (run / "metrics/0009-00000099.jsonl").write_text(json.dumps(line))
    (run / "log/0.log").write_text(evil)
    for address in (
        "/",
        "/run/exp/main-0",
        "/run/exp/main-0?tab=results",
        "/run/exp/main-0?tab=log",
        "/compare?run=exp/main-0",
        "/benchmarks",
        "/gallery?run=exp/main-0",
    ):
        page = visit.open(address)
        expect(page.locator("#content > *").first).to_be_attached()
        page.wait_for_timeout(700)
        assert page.evaluate("window.evil") is None, address
    expect(page.locator("h1")).to_have_text("Gallery")


def test_a_folder_that_is_no_store_says_so(visit, storage):
    shutil.rmtree(storage / "runs")
    expect(visit.open().locator("#content")).to_contain_text("There are no runs in")


def test_labels_are_switched_zoomed_together_and_leave_figures_alone(visit):
    page = visit.open("/gallery?run=exp/main-0&unit=scene-0000")
    page.wait_for_selector(".labeled[data-ready=yes]")
    panels = page.locator(".labeled-panels canvas")
    expect(panels).to_have_count(3)

    def pictures():
        return [panel.evaluate("canvas => canvas.toDataURL()") for panel in panels.all()]

    before = pictures()
    page.get_by_role("button", name="none", exact=True).click()
    page.wait_for_timeout(200)
    hidden = pictures()
    assert hidden[0] == before[0] and hidden[1] != before[1] and hidden[2] != before[2]
    assert hidden[0] == hidden[1] == hidden[2], "without labels all panels show the input"
    panels.first.focus()
    page.keyboard.press("+")
    page.wait_for_timeout(200)
    zoomed = pictures()
    assert zoomed[0] == zoomed[1] == zoomed[2] != hidden[0]
    page.goto(f"{visit.url}/run/exp/main-0?tab=results")
    page.get_by_role("button", name="matched").click()
    expect(page.locator("th[aria-sort=descending]")).to_have_text("matched")
    expect(page.locator(".js-plotly-plot .legendlines path").first).to_be_attached()
