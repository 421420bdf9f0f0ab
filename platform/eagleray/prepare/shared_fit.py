"""One ``fit`` for all sources of a stage: validation data read the codebook of training data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from eagleray.prepare.fingerprint import stage_fingerprint
from eagleray.prepare.folder import StageFolder
from eagleray.prepare.survey import Fit, StageRun, fit_of, list_inputs
from eagleray.task import EaglerayError, Rows, SettingsError, Stage

_FIRST = "train"
"""The source that fits where there is one of this name."""


class SharedFits:
    """Says what each stage takes of ``fit``.

    Stages of one name that have the same folder, because they agree in everything but their source,
    share what one of them finds: the one with the source ``train``, or the first one. Where only
    another one is prepared, the fitting one's inputs are listed for it; where that cannot be done
    (a machine without the training data), what it found last counts.

    Args:
        stages: All stages of the task.
        limit: Work on the first items only.
    """

    def __init__(self, stages: Sequence[Stage], limit: int | None) -> None:
        self._stages, self._limit = stages, limit
        self._known: dict[str, Fit] = {}
        self._fingerprints: dict[str, str | None] = {}

    def fit_for(self, stage: Stage, folder: StageFolder, rows: Mapping[str, Rows]) -> Fit | None:
        """Return what another source fits for a stage; None where it fits for itself.

        Args:
            stage: The stage.
            folder: Its folder.
            rows: Rows of the stages before it, by label.
        """
        fitting = self._fitting(stage, folder)
        if fitting is None or fitting.label == stage.label:
            return None
        if fitting.label not in self._known:
            self._known[fitting.label] = self._found_by(fitting, folder, rows)
        return self._known[fitting.label]

    def note(self, stage: Stage, folder: StageFolder, fit: Fit) -> None:
        """Note what a stage takes of ``fit``, once it has been found."""
        fitting = self._fitting(stage, folder)
        if fitting is not None and fitting.label == stage.label:
            self._known[stage.label] = fit
            if self._limit is None and folder.read_fitted(fit.digest) is not None:
                folder.set_current_fit(fit.digest)

    def _fitting(self, stage: Stage, folder: StageFolder) -> Stage | None:
        """Return the stage that fits for this one; itself where its folder is its own."""
        if not stage.fit_items:
            return None
        alike = [
            s
            for s in self._stages
            if s.fit_items
            and s.name == stage.name
            and (s.label == stage.label or self._fingerprint(s.label) == folder.fingerprint)
        ]
        return next((s for s in alike if s.source == _FIRST), alike[0] if alike else stage)

    def _fingerprint(self, label: str) -> str | None:
        """Return a stage's fingerprint; None where it has none here, because weights are missing
        or it reads what is not there.
        """
        if label not in self._fingerprints:
            self._fingerprints[label] = None
            for stage in (s for s in self._stages if s.label == label):
                before = {up: self._fingerprint(up) for up in stage.upstream}
                known = {up: name for up, name in before.items() if name is not None}
                with suppress(SettingsError):
                    self._fingerprints[label] = stage_fingerprint(stage, known)
        return self._fingerprints[label]

    def _found_by(self, fitting: Stage, folder: StageFolder, rows: Mapping[str, Rows]) -> Fit:
        before = folder.current_fit()
        if all(label in rows for label in fitting.upstream):
            run = StageRun(fitting, folder, {label: rows[label] for label in fitting.upstream})
            try:
                return fit_of(run, list_inputs(run, self._limit))
            except (EaglerayError, OSError):
                if before is None:
                    raise
        if before is None:
            raise EaglerayError(
                f"stage {fitting.label} fits for all sources, and has not done so in "
                f"{folder.uri}: prepare it first (`eagleray prepare` runs all stages)"
            )
        return Fit(before)
