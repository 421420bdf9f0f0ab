"""The training loop against a plain torch loop, and what happens at step borders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.eagleray.tiny_task import TinyData, TinySettings, TinyTask
from tests.eagleray.train.workers import experiment, losses, train_here

from eagleray.options import RunOptions
from eagleray.progress import Silent
from eagleray.runs.metrics import MetricsWriter, claim_attempt, read_lines
from eagleray.storage import Store
from eagleray.task import SettingsError, StepContext
from eagleray.train import TrainingError, request_stop, train_run
from eagleray.train.checkpoint import list_checkpoints
from eagleray.train.job import TrainJob
from eagleray.train.loader import data_order
from eagleray.train.loop import train_process
from eagleray.train.optimizer import learning_rate
from eagleray.train.order import keyed_rng

RICH_PHASE = {
    "epochs": 2,
    "batch_size": 4,
    "optimizer": "adamw",
    "lr": 0.02,
    "weight_decay": 0.1,
    "schedule": {"kind": "poly", "warmup_steps": 3},
    "clip_norm": 1.0,
    "ema_decay": 0.8,
}


def weights(folder: Path, name: str, file: str = "model.safetensors") -> dict[str, torch.Tensor]:
    marker = json.loads((folder / "checkpoints" / f"{name}.json").read_text())
    return load_file(folder / "checkpoints" / marker.get("folder", name) / file)


def plain_loop(phase_values: dict[str, object]) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """Train as one would by hand; return the model and the moving average of its weights."""
    task = TinyTask(TinySettings())
    phase = experiment(phases=[phase_values]).train.phases[0]
    data = TinyData(task.settings)
    order = data_order(data, batch_size=phase.batch_size, seed=0, phase=phase.name)
    total = order.steps_in(phase.epochs)
    torch.manual_seed(0)
    model = task.build()
    body, head = (
        list(model.body.parameters()),
        list(model.head.parameters()),
    )
    optimizer = torch.optim.AdamW(
        [{"params": body}, {"params": head, "weight_decay": 0.0}], weight_decay=phase.weight_decay
    )
    average = {n: p.detach().clone() for n, p in model.named_parameters()}
    for step in range(total):
        epoch, batch = order.batch(step)
        samples = [
            data.load(int(i), keyed_rng(0, phase.name, epoch, data.key(int(i)))) for i in batch
        ]
        terms = task.losses(model, data.collate(samples), StepContext(phase, step, total, 0))
        loss = sum(t.factor * t.sum / t.weight for t in terms.values())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), phase.clip_norm)
        for group, factor in zip(optimizer.param_groups, (1.0, 0.5), strict=True):
            group["lr"] = learning_rate(phase.schedule, phase.lr * factor, step, total)
        optimizer.step()
        for name, parameter in model.named_parameters():
            average[name] = phase.ema_decay * average[name] + (1 - phase.ema_decay) * parameter.data
    return model, average


def test_engine_equals_a_plain_loop(tmp_path: Path) -> None:
    result = train_here(tmp_path, phases=[RICH_PHASE])
    model, average = plain_loop(RICH_PHASE)
    assert (result.finished, result.step, result.checkpoints) == (True, 12, ("main-00000012",))
    found = weights(tmp_path, "main-00000012")
    assert found.pop("seen") == 12
    torch.testing.assert_close(found, average, rtol=1e-5, atol=1e-6)
    saved = weights(tmp_path, "main-00000012", "optimizer.safetensors")
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(saved[f"{name}/weight"], parameter.data, rtol=1e-5, atol=1e-6)


def test_stopped_run_goes_on_as_if_undisturbed(tmp_path: Path) -> None:
    phases = [{**RICH_PHASE, "epochs": 2}]
    train_here(tmp_path / "whole", {"dropout": 0.3}, phases=phases)
    stopped = train_here(tmp_path / "stopped", {"dropout": 0.3, "signal_at_step": 4}, phases=phases)
    assert (stopped.finished, stopped.step, stopped.checkpoints) == (False, 5, ("main-00000005",))
    rest = train_here(tmp_path / "stopped", {"dropout": 0.3}, phases=phases)
    assert rest.finished
    assert losses(tmp_path / "stopped") == losses(tmp_path / "whole")
    for file in ("model.safetensors", "optimizer.safetensors"):
        found = weights(tmp_path / "stopped", "main-00000012", file)
        expected = weights(tmp_path / "whole", "main-00000012", file)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_old_stop_file_does_not_stop_a_new_start(tmp_path: Path) -> None:
    request_stop(Store(str(tmp_path)))
    assert train_here(tmp_path).finished
    assert not (tmp_path / "stop").exists()


def test_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    train_here(tmp_path)
    again = train_here(tmp_path)
    assert (again.finished, again.step) == (True, 10)
    assert again.metrics["loss"] == pytest.approx(losses(tmp_path)[-1])


def test_limited_run_goes_on_to_the_full_length(tmp_path: Path) -> None:
    phases = [{**RICH_PHASE, "name": n} for n in ("a", "b")]
    train_here(tmp_path / "whole", phases=phases)
    limited = train_here(tmp_path / "limited", limit=3, phases=phases)
    assert limited.checkpoints == ("a-00000003", "b-00000003")
    train_here(tmp_path / "limited", phases=phases)
    torch.testing.assert_close(
        weights(tmp_path / "limited", "b-00000012"),
        weights(tmp_path / "whole", "b-00000012"),
        rtol=0,
        atol=0,
    )


def test_runs_share_the_end_of_their_common_first_phase(tmp_path: Path) -> None:
    first = {**RICH_PHASE, "name": "a"}
    phases = [[first, {"name": "b", "steps": 3, "batch_size": 4, "lr": lr}] for lr in (0.1, 0.2)]
    whole = train_here(tmp_path / "whole", phases=phases[1])
    storage = str(tmp_path / "shared")
    train_here(tmp_path / "one", phases=phases[0], storage=storage)
    other = train_here(tmp_path / "other", phases=phases[1], storage=storage)
    assert (other.step, other.checkpoints) == (whole.step, ("b-00000003",))
    torch.testing.assert_close(
        weights(tmp_path / "other", "b-00000003"),
        weights(tmp_path / "whole", "b-00000003"),
        rtol=0,
        atol=0,
    )
    assert losses(tmp_path / "other") == losses(tmp_path / "whole")[-3:]
    other_seed = train_here(tmp_path / "seed", phases=phases[1], storage=storage, seed=1)
    assert "a-00000012" in other_seed.checkpoints


def test_second_phase_begins_where_the_first_ended_and_freezes(tmp_path: Path) -> None:
    phases = [
        {"name": "a", "steps": 4, "batch_size": 4, "lr": 0.05, "ema_decay": 0.5},
        {"name": "b", "steps": 3, "batch_size": 4, "lr": 0.05},
    ]
    result = train_here(tmp_path, {"freeze_head_in": "b"}, phases=phases)
    assert (result.step, result.phase) == (7, "b")
    first, second = weights(tmp_path, "a-00000004"), weights(tmp_path, "b-00000003")
    torch.testing.assert_close(second["head.weight"], first["head.weight"], rtol=0, atol=0)
    assert not torch.equal(second["body.0.weight"], first["body.0.weight"])
    kept = [line["total_step"] for line in read_lines(Store(str(tmp_path)))]
    assert kept == list(range(1, 8))


@pytest.mark.parametrize("strategy", ["single", "deepspeed"])
def test_steps_that_are_not_finite_are_skipped_and_counted(tmp_path: Path, strategy: str) -> None:
    result = train_here(tmp_path, {"nan_steps": (3, 4)}, strategy=strategy, zero_stage=2)
    assert result.finished
    assert result.metrics["skipped_steps"] == 2
    assert all(v.isfinite().all() for v in weights(tmp_path, "main-00000010").values())


def test_too_many_skipped_steps_in_a_row_stop(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"3 steps in a row up to step 8 .*mse"):
        train_here(tmp_path, {"nan_forever_from": 5}, max_nan_steps=2)


def test_phase_in_which_no_step_was_applied_is_no_training(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="none of which changed the weights"):
        train_here(tmp_path, {"nan_forever_from": 0, "steps": 3}, max_nan_steps=10)
    assert not list((tmp_path / "checkpoints").glob("*.json"))


class FreezingTask(TinyTask):
    """Puts one module into eval mode for the whole phase, as for a frozen batch norm."""

    def on_phase_start(self, model: torch.nn.Module, phase: object, data: object) -> None:
        model.body.eval()  # type: ignore[union-attr, operator]

    def before_step(self, model: torch.nn.Module, step: StepContext) -> None:
        assert model.training
        assert not model.body.training  # type: ignore[union-attr]


def test_validation_leaves_the_mode_of_each_module(tmp_path: Path) -> None:
    asked = experiment(validate_on={"benchmark": "fit", "every": 2})
    store, options = Store(str(tmp_path)), RunOptions(inline=True)
    assert train_run(asked, FreezingTask(asked.settings), store, {}, options).finished


def test_half_precision_lowers_its_loss_scale_and_trains(tmp_path: Path) -> None:
    phases = [{"steps": 40, "batch_size": 4, "optimizer": "adamw", "lr": 0.01, "precision": "fp16"}]
    # Not one of the steps that only calibrate the scale counts as failed.
    result = train_here(tmp_path, {"loss_factor": 300.0}, phases=phases, max_nan_steps=0)
    skipped = int(result.metrics["skipped_steps"])
    found = losses(tmp_path)
    assert result.finished
    assert 1 <= skipped <= 16
    assert len(found) == 40 - skipped
    assert sum(found[-8:]) < sum(found[:8])
    state = json.loads((tmp_path / "checkpoints/main-00000040/state.json").read_text())
    assert state["loss_scale"] == 65536.0 / 2**skipped


def test_validation_keeps_the_best_checkpoint(tmp_path: Path) -> None:
    result = train_here(
        tmp_path,
        {"steps": 30},
        validate_on={"benchmark": "fit", "every": 4, "units": 9},
        keep_checkpoints=1,
        checkpoint_every=7,
    )
    lines = [x for x in read_lines(Store(str(tmp_path))) if x["kind"] == "validate"]
    assert [x["step"] for x in lines] == [4, 8, 12, 16, 20, 24, 28, 30]
    best = min(lines, key=lambda x: x["mse"])
    assert result.best is not None
    assert result.best.checkpoint == f"main-{best['step']:08d}"
    assert result.best.value == pytest.approx(best["mse"])
    assert set(result.checkpoints) == {result.best.checkpoint, "main-00000030"}


def test_validation_and_checkpoints_every_so_many_epochs(tmp_path: Path) -> None:
    """24 samples in batches of 4: an epoch is 6 steps."""
    result = train_here(
        tmp_path,
        {"steps": 26},
        validate_on={"benchmark": "fit", "every_epochs": 1, "from_step": 10},
        keep_checkpoints=9,
        checkpoint_every_epochs=2,
    )
    lines = [x for x in read_lines(Store(str(tmp_path))) if x["kind"] == "validate"]
    assert [x["step"] for x in lines] == [12, 18, 24, 26]
    assert {"main-00000012", "main-00000024", "main-00000026"} <= set(result.checkpoints)
    assert "main-00000006" not in result.checkpoints


def test_data_without_epochs_have_no_borders_at_epochs(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no epochs"):
        train_here(tmp_path, {"steps": 4, "on_device": True}, checkpoint_every_epochs=1)


def test_the_best_checkpoint_is_chosen_by_the_metric_asked_for(tmp_path: Path) -> None:
    validated = {"benchmark": "fit", "every": 4, "metric": "mse", "higher_is_better": True}
    result = train_here(tmp_path, {"steps": 12}, validate_on=validated)
    lines = [x for x in read_lines(Store(str(tmp_path))) if x["kind"] == "validate"]
    worst = max(lines, key=lambda x: x["mse"])
    assert result.best is not None
    assert result.best.checkpoint == f"main-{worst['step']:08d}"


def test_a_metric_that_is_not_computed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"'accuracy'.*computes mse"):
        train_here(tmp_path, validate_on={"benchmark": "fit", "metric": "accuracy"})


def test_validation_of_an_average_leaves_the_training_alone(tmp_path: Path) -> None:
    validated = {"benchmark": "fit", "every": 2}
    train_here(tmp_path / "with", phases=[RICH_PHASE], validate_on=validated)
    train_here(tmp_path / "without", phases=[RICH_PHASE])
    assert losses(tmp_path / "with") == losses(tmp_path / "without")


def test_unknown_benchmark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"'fitt'.*\['fit'\]"):
        train_here(tmp_path, validate_on={"benchmark": "fitt"})


def test_data_on_the_device_go_on_at_the_right_step(tmp_path: Path) -> None:
    train_here(tmp_path / "whole", {"on_device": True})
    train_here(tmp_path / "parts", {"on_device": True}, limit=4)
    train_here(tmp_path / "parts", {"on_device": True})
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    with pytest.raises(SettingsError, match="length in steps"):
        train_here(tmp_path / "epochs", {"on_device": True}, phases=[RICH_PHASE])


def test_memory_savers_do_not_change_the_losses(tmp_path: Path) -> None:
    train_here(tmp_path / "plain", {"dropout": 0.2})
    train_here(
        tmp_path / "saving", {"dropout": 0.2}, activation_checkpointing=True, channels_last=True
    )
    torch.testing.assert_close(losses(tmp_path / "saving"), losses(tmp_path / "plain"))


def test_reading_processes_give_what_the_thread_gives(tmp_path: Path) -> None:
    train_here(tmp_path / "thread")
    train_here(tmp_path / "process", loader_workers=1)
    assert losses(tmp_path / "process") == losses(tmp_path / "thread")


def test_profiler_window_leaves_a_trace(tmp_path: Path) -> None:
    train_here(tmp_path, profile_steps=(2, 3))
    trace = (tmp_path / "log" / "profile-main-rank0.json").read_text()
    assert "traceEvents" in trace


def test_metrics_say_speed_waiting_and_memory(tmp_path: Path) -> None:
    result = train_here(tmp_path, {"load_seconds": 0.01})
    assert result.metrics["items_per_s"] > 0
    assert 0.5 < result.metrics["wait_fraction"] <= 1
    assert result.metrics["peak_memory_mb"] > 1
    assert list((tmp_path / "tensorboard").glob("events*"))


class ShownValues(Silent):
    """Keeps the names of the values that are shown beside the bar."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def advance(self, units: int = 1, **info: object) -> None:
        self.names |= set(info)


def test_progress_and_metrics_call_waiting_by_the_same_name(tmp_path: Path) -> None:
    asked, shown = experiment(storage=str(tmp_path / "storage")), ShownValues()
    run = Store(str(tmp_path / "run"))
    train_run(
        asked, TinyTask(asked.settings), run, {}, RunOptions(inline=True, limit=2, progress=shown)
    )
    assert shown.names == {"loss", "wait_fraction"}
    assert shown.names < set(read_lines(run)[-1])


def test_highest_attempt_counts_per_step(tmp_path: Path) -> None:
    run = Store(str(tmp_path))
    for attempt, first, last in ((1, 1, 6), (2, 4, 8)):
        writer = MetricsWriter(run, attempt)
        for step in range(first, last + 1):
            writer.write(
                "train",
                phase="main",
                step=step,
                total_step=step,
                end_step=9,
                values={"loss": float(attempt)},
            )
        writer.close()
    assert [line["loss"] for line in read_lines(run)] == [1, 1, 1, 2, 2, 2, 2, 2]


@pytest.mark.slow
def test_compiled_model_gives_the_same_losses(tmp_path: Path) -> None:
    train_here(tmp_path / "plain")
    train_here(tmp_path / "compiled", compile=True)
    torch.testing.assert_close(losses(tmp_path / "compiled"), losses(tmp_path / "plain"))


def test_memory_that_does_not_suffice_names_the_micro_batch(tmp_path, monkeypatch):
    def starve(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("eagleray.train.strategies.native.NativeStrategy.train_step", starve)
    with pytest.raises(TrainingError, match=r"samples per forward pass: set train\.micro"):
        train_here(tmp_path)


def test_a_machine_that_goes_leaves_a_checkpoint(tmp_path):
    asked = experiment()
    job = TrainJob(asked, TinyTask(asked.settings), Store(str(tmp_path)), {}, limit=4)
    noticed = []

    def notice():
        noticed.append(1)
        return ["node-a"]

    outcome = train_process(
        job, torch.device("cpu"), progress=Silent(), report=lambda m: None, notice=notice
    )
    assert outcome.finished and len(noticed) == 1
    assert {"main-00000001", "main-00000004"} <= {m.name for m in list_checkpoints(job.run)}


def test_a_driver_that_was_cut_off_and_comes_back_writes_nothing_more(tmp_path):
    asked = experiment(checkpoint_every=2)
    job = TrainJob(asked, TinyTask(asked.settings), Store(str(tmp_path)), {})
    taken = []

    def take_over():
        if list_checkpoints(job.run) and not taken:  # behind the first checkpoint
            taken.append(claim_attempt(job.run))
        return ()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eagleray.train.stop._ASK_EVERY_S", 0.0)
        with pytest.raises(TrainingError, match="another driver has taken over"):
            train_process(
                job, torch.device("cpu"), progress=Silent(), report=lambda m: None, notice=take_over
            )
    assert taken == [2]
    assert [m.name for m in list_checkpoints(job.run)] == ["main-00000002"]
    train_here(tmp_path, checkpoint_every=2)
    train_here(tmp_path / "undisturbed", checkpoint_every=2)
    assert losses(tmp_path) == losses(tmp_path / "undisturbed")
