"""The command: verbs, exit statuses, messages."""

from __future__ import annotations

import pytest

from eagleray.cli import main
from eagleray.task import EaglerayError, SettingsError


def test_overview_lists_every_verb(capsys):
    assert main.run([]) == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in main.VERBS)


def test_every_verb_can_be_imported():
    for name in main.VERBS:
        assert callable(main._verb(name))


def test_unknown_verb_names_the_nearest(capsys):
    assert main.run(["trian"]) == 2
    assert "did you mean 'train'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status"),
    [(SettingsError("a"), 2), (EaglerayError("b"), 1), (KeyboardInterrupt(), 130)],
)
def test_errors_become_exit_statuses(monkeypatch, capsys, error, status):
    def fails(_):
        raise error

    monkeypatch.setattr(main, "_verb", lambda _: fails)
    assert main.run(["train"]) == status
    assert capsys.readouterr().err.startswith("eagleray: ")


def test_verbs_ask_for_an_experiment(capsys):
    assert main.run(["train", "--limit", "3"]) == 2
    assert "needs the path of an experiment" in capsys.readouterr().err
