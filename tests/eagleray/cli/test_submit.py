"""``eagleray submit``: what is sent to the cluster, and what is refused before."""

from __future__ import annotations

import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests import sixth_task

import eagleray.api
from eagleray.cli import main, submit
from eagleray.experiment import load
from eagleray.runs import environment
from eagleray.scheduling import NodeTypes, read_cluster_file
from eagleray.scheduling.jobs import ClusterJobs, Job, JobError, JobRequest

ROOT = Path(__file__).resolve().parents[3]


class Recorder:
    """Stands for the cluster: keeps the request and ends with a status."""

    def __init__(self, address):
        self.address = address
        Recorder.last = self

    def submit(self, request):
        self.request = request
        self.sent = {p.name: p.read_text() for p in request.working_dir.iterdir() if p.is_file()}
        return Job("job-1", "PENDING")

    def follow(self, job, say, warn):
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
    given = {"RAY_JOB_STOP_WAIT_TIME_S": "600", "BUCKET": "s3://there"}
    assert Recorder.last.request.environment == given
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


def test_the_clusters_file_and_the_grace_travel_with_the_job(path, capsys):
    file = ROOT / "cluster" / "aws.yaml"
    assert main.run(["submit", *ADDRESS, str(path), "--cluster", str(file), "--grace-s", "90"]) == 3
    sent = Recorder.last.request.environment
    assert NodeTypes.decode(sent["EAGLERAY_CLUSTER"]) == read_cluster_file(file)
    assert sent["RAY_JOB_STOP_WAIT_TIME_S"] == "90" and "EAGLERAY_REVISION" not in sent
    assert main.run(["submit", *ADDRESS, str(path), "--cluster", "none.yaml"]) == 2
    assert main.run(["submit", *ADDRESS, str(path), "--grace-s", "0"]) == 2
    assert "none.yaml cannot be read" in capsys.readouterr().err


def test_code_that_is_sent_along_brings_its_revision(path, monkeypatch):
    assert main.run(["submit", *ADDRESS, str(path), "--ship-code"]) == 3
    sent = Recorder.last.request.environment["EAGLERAY_REVISION"]
    assert sent == environment.code_revision()
    monkeypatch.setenv("EAGLERAY_REVISION", sent)
    monkeypatch.setattr(environment, "_git", lambda *_, **__: None)
    assert environment.code_revision() == sent, "where it is unpacked there is no git"


class Server:
    """Stands for Ray's job server: its connections break, its jobs speak and end."""

    def __init__(self, *outcomes):
        self.outcomes, self.jobs, self.fails, self.told = list(outcomes), {}, [], ""

    def list_jobs(self):
        return list(self.jobs.values())

    def submit_job(self, *, entrypoint, submission_id, runtime_env, metadata):
        if submission_id in self.jobs:
            raise RuntimeError(f"Job with submission_id {submission_id} already exists.")
        self.jobs[submission_id] = SimpleNamespace(
            submission_id=submission_id, status=Status("RUNNING"), metadata=metadata, message="",
            start_time=1000 * len(self.jobs), driver_exit_code=None,
        )  # fmt: skip
        return submission_id

    async def tail_job_logs(self, job):
        chunk, broken = self.outcomes.pop(0)
        self.told += chunk
        for text in (self.told[:7], self.told[7:]):
            yield text
        if broken:
            raise RuntimeError("WebSocket connection closed unexpectedly")
        self.end(job)

    def get_job_logs(self, job):
        return self.told

    def get_job_info(self, job):
        if self.fails:
            raise self.fails.pop(0)
        return self.jobs[job]

    def stop_job(self, job):
        self.end(job, "STOPPED")

    def end(self, job, status="SUCCEEDED"):
        self.jobs[job].status = Status(status)


class Status(str):
    def is_terminal(self):
        return self != "RUNNING"


@pytest.fixture
def server(monkeypatch):
    server = Server()
    monkeypatch.setattr(ClusterJobs, "_connect", lambda self: server)
    monkeypatch.setattr("eagleray.scheduling.jobs._PAUSE_S", 0.0)
    return server


def request(folder, command="eagleray run a.yaml", **environment):
    return JobRequest(command, folder, "run a", environment)


def test_a_job_that_is_sent_twice_is_followed_and_not_doubled(server, tmp_path):
    (tmp_path / "a.yaml").write_text("task: squares\n")
    cluster = ClusterJobs("http://head:8265")
    first = cluster.submit(request(tmp_path))
    again = cluster.submit(request(tmp_path))
    assert again.id == first.id and again.was_there and not first.was_there
    assert first.id.startswith("run-a-") and first.id.endswith("-1")
    others = [cluster.submit(request(tmp_path, "eagleray train a.yaml")).id]
    others.append(cluster.submit(request(tmp_path, A="b")).id)
    (tmp_path / "a.yaml").write_text("task: squares\nseed: 1\n")
    others.append(cluster.submit(request(tmp_path)).id)
    assert len({first.id, *others}) == 4
    server.end(others[-1], "FAILED")
    assert cluster.submit(request(tmp_path)).id == others[-1][:-1] + "2", "what is over runs anew"


def test_a_job_is_followed_again_after_a_broken_connection(server, tmp_path):
    server.outcomes = [("one two ", True), ("three ", True), ("four", False)]
    server.fails = [ConnectionError("refused"), RuntimeError("502 Bad Gateway")]
    cluster, said, warned = ClusterJobs("http://head:8265"), [], []
    job = cluster.submit(request(tmp_path))
    assert cluster.follow(job.id, said.append, warned.append) == 0
    assert "".join(said) == "one two three four"
    assert len(warned) == 2 and "followed again" in warned[0]


def test_a_head_that_is_gone_is_named(server, tmp_path):
    server.outcomes = [("one", True)]
    server.fails = [RuntimeError("Job run-a does not exist")]
    cluster = ClusterJobs("http://head:8265")
    with pytest.raises(JobError, match=r"knows of job run-a-.* any more.*head gone.*send the same"):
        cluster.follow(cluster.submit(request(tmp_path)).id, print)


def test_a_wrong_token_is_named(monkeypatch):
    from ray.exceptions import AuthenticationError

    def refuse(self):
        raise AuthenticationError("Unauthenticated")

    monkeypatch.setattr(ClusterJobs, "_connect", refuse)
    with pytest.raises(JobError, match="does not take this token: set RAY_AUTH_TOKEN"):
        ClusterJobs("http://head:8265")


def test_jobs_are_listed_shown_and_stopped(server, tmp_path, monkeypatch, capsys):
    cluster = ClusterJobs("http://head:8265")
    job = cluster.submit(request(tmp_path)).id
    server.told = "at work\n"
    for arguments, shown in (
        (["list"], job),
        (["status", job], "RUNNING"),
        (["logs", job], "at work"),
        (["stop", job], "STOPPED"),
        (["status", job], "STOPPED"),
    ):
        assert main.run(["submit", *arguments, *ADDRESS]) == 0
        assert shown in capsys.readouterr().out
    assert main.run(["submit", "list"]) == 2


def test_a_cluster_that_does_not_answer_is_named():
    with pytest.raises(JobError, match=r"127\.0\.0\.1:9 refuses.*8265"):
        ClusterJobs("http://127.0.0.1:9", ready_s=0.0)
