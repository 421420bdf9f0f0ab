"""What there is to do for a stage: its inputs are listed, cut into shards, and the shards that are
done are looked up. Computes nothing.

Shards are cut by content, so that inserted items re-cut their neighborhood only: a cut follows an
item whose key hash is divisible by a number, and shards hold between half and twice the average
(content-defined chunking: Muthitacharoen et al., "A Low-bandwidth Network File System", SOSP 2001,
section 3.1). Cutting every n items instead would shift all shards behind a new image. The number of
workers plays no role, so that the same data give the same shards on every machine.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from eagleray.prepare.code import Code, code_of
from eagleray.prepare.fingerprint import DIGEST_BYTES, item_digest, traced_items
from eagleray.prepare.folder import StageFolder
from eagleray.prepare.listing import Listing, spool
from eagleray.prepare.marker import Manifest
from eagleray.task import Item, Rows, Stage

SECONDS_PER_SHARD = 60.0
"""Aimed length of a shard, which may be half of it to twice it: long against the cost of a shard,
short against what a kill may cost."""

BYTES_PER_SHARD = 256e6
"""Aimed size of a shard's rows and files at most: a worker holds two shards in memory, one that is
computed and one that is written."""

SHARDS_TO_SPREAD = 64
"""A job of less than an hour is cut into about so many shards, so that workers end together."""

LEAST_SHARDS = 16
"""A job of seconds may have so few, if that keeps its shards above ``LEAST_SECONDS``."""

LEAST_SECONDS = 0.5
"""Work that is long against what a shard costs beside, some 15 ms over all processes."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A stretch of a listing that is computed and committed together."""

    id: str
    start: int
    num_items: int


@dataclass(frozen=True)
class FitItems:
    """What ``Stage.fit`` sees.

    Args:
        stage: The stage that fits, not set up.
        upstream: The rows that it reads, by label.
        listing: Its inputs.
        positions: Which of them it is shown.
    """

    stage: Stage
    upstream: Mapping[str, Rows]
    listing: Listing
    positions: tuple[int, ...]

    def items(self) -> list[Item]:
        """Return the items in listing order."""
        return [self.listing.items(position, 1)[0] for position in self.positions]


@dataclass(frozen=True)
class Fit:
    """What a stage takes of ``fit``, its own or that of another source of the same stage.

    Args:
        digest: Name of what is found; empty without a fit.
        shown: What it is found on; None where it has been found before and that is gone.
    """

    digest: str = ""
    shown: FitItems | None = None


NO_FIT = Fit()
"""What a stage without a fit takes."""


@dataclass(frozen=True)
class StageRun:
    """A stage that is to be run.

    Args:
        stage: The stage, not set up; evaluation and prediction are stages too.
        folder: Where its results go; must change when anything changes that they depend on.
        upstream: The rows that it reads, by label.
        also_read: Rows that it reads without listing them: other code behind them is told, too.
        fit: What another source of the same stage fits for it; None where it fits for itself.
    """

    stage: Stage
    folder: StageFolder
    upstream: Mapping[str, Rows] = field(default_factory=dict)
    also_read: Mapping[str, Rows] = field(default_factory=dict)
    fit: Fit | None = None

    def code(self) -> Code:
        """Return the code that this run would use, and what made the rows that it reads."""
        made_by = {}
        for label, rows in {**self.upstream, **self.also_read}.items():
            folder = getattr(rows, "folder", None)
            code = folder.read_code() if isinstance(folder, StageFolder) else None
            if code is not None:
                made_by[label] = code.digest
        return code_of(self.stage, made_by)


@dataclass(frozen=True)
class Survey:
    """A stage's work.

    Args:
        run: What is to be run.
        listing: The inputs.
        fit: What ``fit`` finds, and on which items.
        manifest: The listing's manifest where it is finished.
        shards: All shards in listing order; empty where it is finished.
        done: Ids of those that are done.
    """

    run: StageRun
    listing: Listing
    fit: Fit
    manifest: Manifest | None
    shards: tuple[Shard, ...]
    done: frozenset[str]

    @property
    def todo(self) -> tuple[Shard, ...]:
        """The shards that are still to be computed."""
        return tuple(shard for shard in self.shards if shard.id not in self.done)

    @property
    def num_shards(self) -> int:
        """Number of all shards."""
        return len(self.manifest.shards) if self.manifest else len(self.shards)


def survey(run: StageRun, *, items_per_shard: int | None, limit: int | None) -> Survey:
    """List a stage's inputs, cut them and look up what is done.

    Args:
        run: What is to be run.
        items_per_shard: Average items per shard; None for about a minute of work.
        limit: Look at the first items only.
    """
    listing = list_inputs(run, limit)
    fit = fit_of(run, listing)
    if run.folder.has_manifest(listing.digest):
        manifest = run.folder.manifest(listing.digest)
        if run.fit is None or manifest.fit == run.fit.digest:
            return Survey(run, listing, fit, manifest, (), frozenset())
    seconds = run.stage.resources.seconds_per_item
    num_bytes = run.stage.resources.bytes_per_item
    average = average_items(listing.num_items, seconds, items_per_shard, num_bytes)
    shards = tuple(shards_of(listing, average, fit.digest))
    done = run.folder.done_shards() & {shard.id for shard in shards}
    return Survey(run, listing, fit, None, shards, frozenset(done))


def list_inputs(run: StageRun, limit: int | None) -> Listing:
    """Spool a stage's inputs, or the first ones, with what they read upstream in their identity."""
    items = traced_items(run.stage, run.upstream)
    return spool(items, run.folder, run.stage.label, limit=limit)


def fit_of(run: StageRun, listing: Listing) -> Fit:
    """Return what a stage takes of ``fit`` on this listing, and on which of its items it is found.

    They are the items whose keys have the smallest hashes: spread over the listing (which may begin
    with one scene), and the same ones after most additions to it.
    """
    stage = run.stage
    if run.fit is not None:
        return run.fit
    if not stage.fit_items:
        return NO_FIT
    hashes = np.concatenate([np.empty(0, np.uint64), *listing.key_hashes()])
    chosen = np.sort(np.argsort(hashes, kind="stable")[: stage.fit_items])
    shown = FitItems(stage, run.upstream, listing, tuple(int(i) for i in chosen))
    hasher = hashlib.blake2b(str(stage.fit_items).encode(), digest_size=8)
    for item in shown.items():
        hasher.update(item_digest(item.key, item.identity))
    return Fit(hasher.hexdigest(), shown)


def average_items(
    num_items: int,
    seconds_per_item: float,
    items_per_shard: int | None,
    bytes_per_item: float = 0.0,
) -> int:
    """Return the aimed number of items per shard.

    Args:
        num_items: Length of the listing.
        seconds_per_item: Expected work per item in s.
        items_per_shard: What the user asked for; None for about a minute of work, less for small
            jobs. (Parts of a job are rounded down to a power of two, so that the size rarely
            changes when items are added.)
        bytes_per_item: Expected bytes of an item's rows and files; 0 = unknown.
    """
    if items_per_shard is not None:
        return items_per_shard
    most = BYTES_PER_SHARD / bytes_per_item if bytes_per_item else math.inf
    long_enough = math.ceil(LEAST_SECONDS / seconds_per_item)
    small = max(
        _part(num_items, SHARDS_TO_SPREAD), min(long_enough, _part(num_items, LEAST_SHARDS))
    )
    return int(max(1, min(round(SECONDS_PER_SHARD / seconds_per_item), small, most)))


def _part(num_items: int, parts: int) -> int:
    return int(1 << max(0, (num_items // parts).bit_length() - 1))


def cut(hashes: Iterable[npt.NDArray[np.uint64]], average: int) -> list[int]:
    """Return the number of items of each shard, in order.

    Args:
        hashes: Hash of each item's key, uint64, in chunks of any length.
        average: Aimed items per shard; shards hold half of it to twice it (the last one may be
            smaller).
    """
    least, most = max(1, average // 2), 2 * average
    # Behind the least length, a cut comes after average - least more items on average; so the mean
    # length is the average, and where it falls depends on the keys near it alone.
    divisor = np.uint64(average - least + 1)
    ends, total = [np.empty(0, np.int64)], 0
    for chunk in hashes:
        ends.append(np.flatnonzero(chunk % divisor == 0) + total + 1)
        total += len(chunk)
    candidates = np.concatenate(ends)
    sizes, start = [], 0
    while start < total:
        position = int(np.searchsorted(candidates, start + least))
        end = int(candidates[position]) if position < len(candidates) else total
        end = min(end, start + most, total)
        sizes.append(end - start)
        start = end
    return sizes


def shards_of(listing: Listing, average: int, fit_digest: str) -> list[Shard]:
    """Return the shards of a listing; a shard's id is a hash of its items and of what ``fit``
    found.
    """
    sizes = cut(listing.key_hashes(), average)
    digests = _digests(listing)
    shards, start = [], 0
    for size in sizes:
        hasher = hashlib.blake2b(fit_digest.encode(), digest_size=8)
        for piece in digests.take(size):
            hasher.update(piece)
        shards.append(Shard(hasher.hexdigest(), start, size))
        start += size
    return shards


class _DigestReader:
    """Hands out the item digests in stretches while holding one part at a time."""

    def __init__(self, parts: Iterator[memoryview]) -> None:
        self._parts = parts
        self._part = memoryview(b"")

    def take(self, num_items: int) -> Iterator[memoryview]:
        missing = num_items * DIGEST_BYTES
        while missing:
            if not self._part:
                self._part = next(self._parts)
            piece = self._part[:missing]
            self._part = self._part[len(piece) :]
            missing -= len(piece)
            yield piece


def _digests(listing: Listing) -> _DigestReader:
    def parts() -> Iterator[memoryview]:
        for table in listing.columns("digest"):
            array = table.column("digest").combine_chunks()
            yield memoryview(array.buffers()[-1])[: len(array) * DIGEST_BYTES]

    return _DigestReader(parts())
