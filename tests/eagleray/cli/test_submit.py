"""``eagleray submit``: what is sent to the cluster, and what is refused before."""

from __future__ import annotations

import shlex

import pytest
from tests import sixth_task

import eagleray.api
from eagleray.cli import main, submit
from eagleray.experiment import load
from eagleray.scheduling.jobs import ClusterJobs, JobError


class Recorder:
    """Stands for the cluster: keeps the request and ends with a status."""

    def __init__(self, address):
        self.address = address
        Recorder.last = self

    def submit(self, request):
        self.request = request
        self.sent = {p.name: p.read_text() for p in request.working_dir.iterdir() if p.is_file()}
        return "job-1"

    def follow(self, job, say):
        say("at work\n")
        return 3


@pytest.fixture(autouse=True)
def cluster(monkeypatch):
    for module in (load, eagleray.api):
        monkeypatch.setattr(module, "task_type", lambda name: sixth_task.SquareTask)
    monkeypatch.setattr(submit, "ClusterJobs", Recorder)
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "experiments" / "six.yaml"
    path.parent.mkdir()
    path.write_text("task: squares\nstorage: s3://bucket/runs\n")
    return path


ADDRESS = ("--address", "http://head:8265")


def test_the_job_gets_the_experiment_and_the_settings_as_they_were_given(path, capsys):
    given = ["--settings.count", "8", "--train.phases.0.lr", "1e-3", "--limit", "4"]
    assert main.run(["submit", *ADDRESS, str(path), "--verb", "train", *given]) == 3
    request = Recorder.last.request
    assert shlex.split(request.command) == ["eagleray", "train", "six.yaml", *given]
    assert Recorder.last.sent == {"six.yaml": path.read_text()}
    assert request.name == "train six" and not request.packages
    assert Recorder.last.address == "http://head:8265"
    assert "at work" in capsys.readouterr().out


def test_the_output_need_not_be_followed(path, monkeypatch):
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://other:8265")
    assert main.run(["submit", str(path), "--no-wait"]) == 0
    assert Recorder.last.address == "http://other:8265"


def test_flags_of_the_verb_are_checked_here(path, capsys):
    arguments = ["--verb", "evaluate", "--checkpoint", "best", "initial", "--benchmark", "all"]
    assert main.run(["submit", *ADDRESS, *arguments, str(path)]) == 3
    assert "--checkpoint best initial" in Recorder.last.request.command
    with pytest.raises(SystemExit) as error:
        main.run(["submit", *ADDRESS, str(path), "--checkpoint", "best"])
    assert error.value.code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--settings.count", "0"], "count"),
        (["--storage", "storage"], "relative"),
        (["--env", "A"], "NAME=VALUE"),
        (["--working-dir", "/nowhere"], "does not lie in"),
    ],
)
def test_what_would_fail_there_is_refused_here(path, capsys, arguments, message):
    Recorder.last = None
    try:
        status = main.run(["submit", *ADDRESS, str(path), *arguments])
    except SystemExit as error:
        status = error.code
    assert status == 2 and message in capsys.readouterr().err
    assert Recorder.last is None


def test_an_address_is_needed(path, capsys):
    assert main.run(["submit", str(path)]) == 2
    assert "--address" in capsys.readouterr().err


def test_variables_are_given_for_the_cluster_and_not_taken_from_here(path, capsys, monkeypatch):
    path.write_text("task: squares\nstorage: ${BUCKET}/runs\n")
    monkeypatch.setenv("BUCKET", "/here")
    assert main.run(["submit", *ADDRESS, str(path)]) == 2
    assert "--env BUCKET=VALUE" in capsys.readouterr().err
    assert main.run(["submit", *ADDRESS, str(path), "--env", "BUCKET=s3://there"]) == 3
    assert Recorder.last.request.environment == {"BUCKET": "s3://there"}
    assert Recorder.last.sent == {"six.yaml": path.read_text()}
    assert load.os.environ["BUCKET"] == "/here"


def test_a_working_folder_is_sent_as_it_is(path):
    folder = path.parent.parent
    assert main.run(["submit", *ADDRESS, str(path), "--working-dir", str(folder)]) == 3
    assert Recorder.last.request.working_dir == folder
    assert Recorder.last.request.command == "eagleray run experiments/six.yaml"


def test_the_source_code_can_be_sent_along(path):
    assert main.run(["submit", *ADDRESS, str(path), "--ship-code"]) == 3
    names = {p.name for p in Recorder.last.request.packages}
    assert {"eagleray", "eagleray_vision", "eagleray_kernels", "eagleray_seamseg"} <= names
    assert all((p / "__init__.py").is_file() for p in Recorder.last.request.packages)


def test_a_cluster_that_does_not_answer_is_named():
    with pytest.raises(JobError, match=r"127\.0\.0\.1:9 refuses.*8265"):
        ClusterJobs("http://127.0.0.1:9", ready_s=0.0)
