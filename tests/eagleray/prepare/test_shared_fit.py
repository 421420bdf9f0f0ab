"""One ``fit`` for all sources of a stage, on items spread over the listing; and what a plan says of
modes and sizes.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.eagleray.stages import NumbersTask, Squares

from eagleray.experiment.schema import PrepareSettings
from eagleray.options import RunOptions
from eagleray.prepare import plan_stages, prepare_stages
from eagleray.storage import Store
from eagleray.task import Resources, SettingsError


def prepare(storage, *stages, labels=None, **options):
    return prepare_stages(
        NumbersTask(stages),
        Store(str(storage)),
        PrepareSettings(**options),
        RunOptions(inline=True),
        labels,
    )


def plans(storage, *stages, **options):
    settings = PrepareSettings(**options)
    return plan_stages(NumbersTask(stages), Store(str(storage)), settings, RunOptions())


class Centered(Squares):
    """Subtracts what its ``fit`` found: the mean of the numbers that it was shown."""

    name = "centered"
    fit_items = 6

    def __init__(self, *arguments, log=None, **options):
        super().__init__(*arguments, **options)
        self.log = log

    def fit(self, samples):
        shown = list(samples)
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(f"{self.source} {len(shown)}\n")
        return {"mean": float(sum(shown)) / len(shown)}

    def setup(self, device, upstream, fitted):
        super().setup(device, upstream, fitted)
        self.mean = fitted.get("mean", 0.0)

    def process(self, samples):
        records = super().process(samples)
        return [[replace(r, row={**r.row, "square": self.mean}) for r in one] for one in records]


@pytest.mark.parametrize("mode", ["stored", "computed"])
def test_validation_reads_what_training_has_fitted(tmp_path, mode):
    log = tmp_path / "log"
    val = Centered(20, start=1000, source="val", log=log)
    both = [val, Centered(100, source="train", log=log)]
    prepared = prepare(tmp_path / "s", *both, materialise=mode)
    assert log.read_text() == "train 6\n", "one fit, on training items"
    means = {
        prepared.rows[f"centered:{source}"][key]["square"]
        for source, key in (("val", "n01000"), ("train", "n00001"))
    }
    assert len(means) == 1 and means.pop() < 100
    again = prepare(tmp_path / "s", *both, materialise=mode)
    assert log.read_text() == "train 6\n"
    assert [s.computed_shards for s in again.summaries] == [0, 0]


def test_other_training_items_fit_anew_for_validation_too(tmp_path):
    def both(start):
        train = Centered(100, start=start, source="train")
        return [train, Centered(20, start=1000, source="val")]

    def mean_of(prepared):
        return prepared.rows["centered:val"]["n01003"]["square"]

    first = prepare(tmp_path, *both(0))
    assert mean_of(first) < 100
    moved = prepare(tmp_path, *both(200))
    assert 200 < mean_of(moved) < 300 and moved.summaries[1].computed_shards > 0
    back = prepare(tmp_path, *both(0))
    assert mean_of(back) == mean_of(first) and back.summaries[1].computed_shards == 0


class Away(Centered):
    """Training data that are not on this machine."""

    def items(self, upstream):
        raise SettingsError("there is no training split here")


def test_validation_is_prepared_without_the_training_data(tmp_path):
    val = Centered(20, start=1000, source="val")
    with pytest.raises(SettingsError, match="no training split"):
        prepare(tmp_path, Away(100, source="train"), val, labels=["centered:val"])
    before = prepare(tmp_path, Centered(100, source="train"), val)
    more = Centered(30, start=1000, source="val")
    alone = prepare(tmp_path, Away(100, source="train"), more, labels=["centered:val"])
    expected = before.rows["centered:train"]["n00001"]["square"]
    assert alone.rows["centered:val"]["n01025"]["square"] == expected
    assert set(alone.rows) == {"centered:val"}


class Newer(Centered):
    """Equal settings, but results of another version: a folder of its own."""

    version = 2


def test_a_stage_with_a_folder_of_its_own_fits_for_itself(tmp_path):
    log = tmp_path / "log"
    both = [Centered(100, source="train", log=log), Newer(20, start=1000, source="val", log=log)]
    prepared = prepare(tmp_path / "s", *both)
    assert log.read_text() == "train 6\nval 6\n"
    assert prepared.rows["centered:val"]["n01003"]["square"] > 1000
    (plan, other) = plans(tmp_path / "s", *both)
    assert plan.shards == plan.shards_done and other.shards == other.shards_done


def test_shards_are_cut_by_bytes_too(tmp_path):
    large = Resources(bytes_per_item=64e6, seconds_per_item=1e-6)
    small = Resources(bytes_per_item=64.0, seconds_per_item=1e-6)
    first = prepare(tmp_path / "a", Squares(300, resources=large))
    other = prepare(tmp_path / "b", Squares(300, resources=small))
    assert first.summaries[0].computed_shards > 2 * other.summaries[0].computed_shards


def test_plan_says_how_large_the_results_will_be(tmp_path):
    stage = Squares(40, resources=Resources(bytes_per_item=1e6))
    (plan,) = plans(tmp_path, stage)
    assert (plan.mode, plan.expected_bytes, plan.bytes_on_disk) == ("stored", 40e6, 0)
    (plan,) = plans(tmp_path, stage, materialise={"squares": "computed"})
    assert (plan.mode, plan.expected_bytes) == ("computed", 0.0)
    prepare(tmp_path, stage)
    (plan,) = plans(tmp_path, stage)
    assert plan.expected_bytes == plan.bytes_on_disk > 0


def test_a_mode_for_an_unknown_stage_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"'sqares'.*squares"):
        prepare(tmp_path, Squares(4, source="val"), materialise={"sqares": "computed"})
