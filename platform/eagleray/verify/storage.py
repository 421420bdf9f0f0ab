"""Every checksum of a storage compared with its file: what is damaged is named, and forgotten where
asked, so that the next call computes just that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from eagleray.prepare import StageFolder, prepared_folders
from eagleray.runs.run_folder import RunFolder, list_runs
from eagleray.storage import Store
from eagleray.train.checkpoint import damaged_files, forget_checkpoint, marked_checkpoints

_FOLDERS_AT_A_TIME = 4
"""Each of them reads several files at a time itself."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Something that is not what its marker says.

    Args:
        path: Where, as a path or URI.
        reason: What is wrong with it.
        remedy: What recomputes it once it is forgotten.
    """

    path: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What a check of a storage found.

    Args:
        num_files: Files whose checksums were compared.
        damages: What was not as it should be.
    """

    num_files: int
    damages: Sequence[Damage]


def verify_storage(storage: str, *, repair: bool = False) -> Verified:
    """Compare all files of prepared stages, evaluations and checkpoints with their checksums.

    Args:
        storage: Folder or URI that holds prepared data and runs.
        repair: Forget what is damaged (markers and manifests of shards, damaged checkpoints).
    """
    runs = list_runs(storage)
    stages = [*prepared_folders(Store(storage)), *_evaluations(runs)]
    num_files, damages = 0, []
    with ThreadPoolExecutor(_FOLDERS_AT_A_TIME) as pool:
        for count, found in pool.map(lambda folder: _verify_stage(folder, repair=repair), stages):
            num_files += count
            damages += found
        for count, found in pool.map(lambda run: _verify_checkpoints(run, repair=repair), runs):
            num_files += count
            damages += found
    return Verified(num_files, damages)


def _evaluations(runs: Sequence[RunFolder]) -> Iterator[StageFolder]:
    for run in runs:
        for benchmark in run.folders(run.EVALUATION):
            for name in run.folders(f"{run.EVALUATION}/{benchmark}"):
                folder = StageFolder(run.child(run.rows_path(benchmark, name)))
                if folder.done_shards():
                    yield folder


def _verify_stage(folder: StageFolder, *, repair: bool) -> tuple[int, list[Damage]]:
    shard_ids = sorted(folder.done_shards())
    num_files, damages, lost = 0, [], []
    for shard_id in shard_ids:
        count, problems = folder.verify_shard(shard_id)
        num_files += count
        if problems:
            lost.append(shard_id)
            remedy = f"shard {shard_id}: the command that made it computes it again"
            damages += [Damage(f"{folder.uri}/{path}", why, remedy) for path, why in problems]
    unreadable = folder.unreadable_manifests()
    remedy = "the command that made the stage joins its shards again"
    damages += [Damage(f"{folder.uri}/{path}", "it cannot be read", remedy) for path in unreadable]
    if repair and (lost or unreadable):
        folder.forget_shards(lost)
        folder.forget_listings()
    return num_files, damages


def _verify_checkpoints(run: RunFolder, *, repair: bool) -> tuple[int, list[Damage]]:
    num_files, damages = 0, []
    for marker in marked_checkpoints(run):
        problems = damaged_files(run, marker)
        num_files += len(marker.files)
        remedy = "training goes on from the checkpoint before, and evaluation takes that one"
        damages += [Damage(f"{run.uri}/{path}", why, remedy) for path, why in problems]
        if problems and repair:
            forget_checkpoint(run, marker)
    return num_files, damages


def describe(verified: Verified, *, repaired: bool) -> list[str]:
    """Return the findings as lines for people."""
    lines = [f"{one.path}: {one.reason}; {one.remedy}" for one in verified.damages]
    if not verified.damages:
        outcome = "nothing is damaged"
    elif repaired:
        outcome = f"{len(verified.damages)} damaged, forgotten: the next call computes them again"
    else:
        outcome = f"{len(verified.damages)} damaged; --repair forgets them"
    return [*lines, f"{verified.num_files} files compared, {outcome}"]
