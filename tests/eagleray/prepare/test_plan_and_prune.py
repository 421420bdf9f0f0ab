"""What would run, and what may be deleted."""

from __future__ import annotations

import math

import pytest
from tests.eagleray.prepare.test_run_stage import Interrupted
from tests.eagleray.stages import NumbersTask, Squares, Sums, tree

from eagleray.experiment.schema import PrepareSettings
from eagleray.options import RunOptions
from eagleray.prepare import delete_prunable, open_rows, plan_stages, prepare_stages, prunable
from eagleray.scheduling import SchedulingError
from eagleray.storage import Store
from eagleray.task import Resources


def plan(storage, *stages, **options):
    limit = options.pop("limit", None)
    settings = PrepareSettings(**options)
    return plan_stages(NumbersTask(stages), Store(str(storage)), settings, RunOptions(limit=limit))


def prepare(storage, *stages, **options):
    settings = PrepareSettings(**options)
    return prepare_stages(
        NumbersTask(stages), Store(str(storage)), settings, RunOptions(inline=True)
    )


def test_a_plan_counts_what_is_done_and_to_do(tmp_path):
    resources = Resources(seconds_per_item=3.0)
    stages = (Squares(100, resources=resources), Sums())
    before = plan(tmp_path, *stages, workers=1)
    assert (before[0].items, before[0].shards_done, before[0].bytes_on_disk) == (100, 0, 0)
    assert before[0].expected_seconds == 300.0 and before[0].shards > 10
    assert (before[1].items, before[1].shards) == (None, None)
    assert math.isnan(before[1].expected_seconds)
    prepared = prepare(tmp_path, *stages)
    after = plan(tmp_path, *stages, workers=1)
    assert [p.shards_done for p in after] == [p.shards for p in after]
    assert [p.expected_seconds for p in after] == [0, 0]
    assert [p.bytes_on_disk for p in after] == [s.bytes for s in prepared.summaries]
    assert [p.fingerprint for p in after] == [s.fingerprint for s in prepared.summaries]


def test_a_plan_halfway(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path, Interrupted(40), items_per_shard=2)
    (halfway,) = plan(tmp_path, Interrupted(40), items_per_shard=2)
    assert 0 < halfway.shards_done < halfway.shards and halfway.bytes_on_disk > 0


def test_a_plan_of_the_first_items(tmp_path):
    assert plan(tmp_path, Squares(100), limit=5)[0].items == 5


def test_a_plan_refuses_workers_that_never_fit(tmp_path):
    with pytest.raises(SchedulingError, match="1000 worker"):
        plan(tmp_path, Squares(5), workers=1000)


def test_a_fingerprint_that_no_run_uses_is_prunable(tmp_path):
    store = Store(str(tmp_path))
    used = prepare(tmp_path, Squares(20)).summaries[0]
    unused = prepare(tmp_path, Squares(20, factor=3)).summaries[0]
    found = prunable(store, {("numbers", "squares", used.fingerprint)})
    assert [f"prepared/numbers/squares/{unused.fingerprint}"] == [entry.path for entry in found]
    assert found[0].bytes >= unused.bytes
    delete_prunable(store, found)
    assert not unused.folder.store.local_path("stage.json").exists()
    assert len(open_rows(used.folder)) == 20


def test_leftovers_of_a_used_fingerprint_are_prunable(tmp_path):
    store = Store(str(tmp_path))
    summary = prepare(tmp_path, Squares(20, files=True)).summaries[0]
    root = tmp_path / "prepared/numbers/squares" / summary.fingerprint
    before = tree(root)
    for orphan in ("shards/orphan-1.parquet", "files/orphan/a.txt", "markers/orphan.json"):
        summary.folder.store.write(orphan, b"x")
    used = {("numbers", "squares", summary.fingerprint)}
    found = prunable(store, used)
    assert len(found) == 3 and sum(entry.bytes for entry in found) == 3
    delete_prunable(store, found)
    assert tree(root) == before and prunable(store, used) == []
    assert open_rows(summary.folder).read_file("n00003", "notes/square.txt") == b"9"


def test_an_unfinished_listing_keeps_its_shards(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path, Interrupted(40))
    (fingerprint,) = Store(str(tmp_path)).folders("prepared/numbers/squares")
    assert prunable(Store(str(tmp_path)), {("numbers", "squares", fingerprint)}) == []


def test_an_empty_storage_has_nothing_to_prune(tmp_path):
    assert prunable(Store(str(tmp_path)), set()) == []
