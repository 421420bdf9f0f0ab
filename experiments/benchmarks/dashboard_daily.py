"""Measures what a daily user of the dashboard waits for: a list of 2,000 runs with ten columns of
settings and a regular expression, the same in groups, and pictures with labels of 30 classes.

    python experiments/benchmarks/dashboard_daily.py [--runs 2000] [--storage FOLDER]

Lists are timed from the request for the address until the content is there, warm: the index is
built and the settings are read, which is timed beside. Pictures are timed in a headless Chromium,
from the navigation until the labels are drawn; without Chromium they are left out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from fake_store import FakeRun, large_runs, write_run
from large_store import Dashboard
from prettytable import PrettyTable
from record import write_record

CHROMIUM = Path("/usr/bin/chromium")
BUDGET_S = {"list": 0.5, "labels": 1.0}
TIMES = 5
CLASSES = 30
PICTURED = "pictured/main-0"
_TEN = "&".join(
    f"col={name}"
    for name in (
        *("seed", "task", "settings.faithful", "settings.crop_px", "settings.backbone"),
        *("train.strategy", "train.num_workers", "train.phases.0.lr", "train.phases.0.momentum"),
        "train.phases.0.weight_decay",
    )
)
LISTS = {
    "list_ten_settings_regular_expression": f"?q=run~main-0.*[0-5]$&{_TEN}",
    "list_filtered_by_settings": f"?q=lr<0.01+backbone=resnet50&sort=-lr&{_TEN}",
    "list_grouped_by_seed": f"?q=run~main-0.*[0-5]$&group=seed&{_TEN}",
}


def measure_lists(dashboard: Dashboard) -> dict[str, float]:
    """Return the seconds of each list: the shortest of some."""
    found = {}
    began = time.perf_counter()
    dashboard.page_s("/", f"?{_TEN}")
    found["settings_read_first_s"] = time.perf_counter() - began
    for name, search in LISTS.items():
        found[f"{name}_s"] = min(dashboard.page_s("/", search) for _ in range(TIMES))
    return found


def measure_pictures(address: str) -> dict[str, float]:
    """Return the seconds until a page of cards and a unit with labels are drawn in Chromium."""
    from playwright.sync_api import sync_playwright

    found: dict[str, list[float]] = {"gallery_cards_s": [], "gallery_labels_s": []}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(120_000)
        for number in range(TIMES):
            began = time.perf_counter()
            page.goto(f"{address}/gallery?run={PICTURED}&order=given")
            page.wait_for_function(
                "document.querySelectorAll('.card img').length > 0 && "
                "[...document.querySelectorAll('.card img')].slice(0, 9).every(i => i.complete)"
            )
            found["gallery_cards_s"].append(time.perf_counter() - began)
            began = time.perf_counter()
            page.locator(".card").nth(number).click()
            page.wait_for_selector(".labeled[data-ready=yes]")
            found["gallery_labels_s"].append(time.perf_counter() - began)
        browser.close()
    return {name: min(seconds) for name, seconds in found.items()}


def main() -> None:
    """Write the store, measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description="Measure lists and labels of the dashboard.")
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--storage", type=Path, help="an existing or new store; default: temporary")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        storage = given.storage or Path(temporary) / "store"
        if not storage.exists():
            for fake in large_runs(given.runs, 2, 0):
                write_run(str(storage), fake, side_px=64)
            pictured = FakeRun("pictured", "main-0", points=2, pictures=30, layers=CLASSES)
            write_run(str(storage), pictured, side_px=512)
        dashboard = Dashboard(storage, Path(temporary) / "cache")
        try:
            found: dict[str, Any] = measure_lists(dashboard)
            if CHROMIUM.exists():
                found |= measure_pictures(dashboard.url)
        finally:
            dashboard.stop()
    kept = {
        name: seconds < BUDGET_S["labels" if name.startswith("gallery") else "list"]
        for name, seconds in found.items()
        if name != "settings_read_first_s"
    }
    table = PrettyTable(["what", "seconds", "in budget"], align="l")
    table.add_rows([[n, f"{s:.3f}", kept.get(n, "")] for n, s in found.items()])
    print(table)
    results = {name: round(seconds, 3) for name, seconds in found.items()}
    sizes = {"runs": given.runs, "classes": CLASSES, "picture_hw": [512, 1024]}
    record = sizes | results | {"budgets_kept": all(kept.values())}
    print(write_record("dashboard_daily", record, packages=["dash", "plotly", "eagleray"]))
    raise SystemExit(0 if all(kept.values()) else 1)


if __name__ == "__main__":
    main()
