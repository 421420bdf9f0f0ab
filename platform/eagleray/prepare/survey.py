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
from eagleray.task import Rows, Stage

SECONDS_PER_SHARD = 60.0
"""Aimed length of a shard, which may be half of it to twice it: long against the cost of a shard,
short against what a kill may cost."""

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
class StageRun:
    """A stage that is to be run.

    Args:
        stage: The stage, not set up; evaluation and prediction are stages too.
        folder: Where its results go; must change when anything changes that they depend on.
        upstream: The rows that it reads, by label.
        also_read: Rows that it reads without listing them: other code behind them is told, too.
    """

    stage: Stage
    folder: StageFolder
    upstream: Mapping[str, Rows] = field(default_factory=dict)
    also_read: Mapping[str, Rows] = field(default_factory=dict)

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
        fit_digest: Name of what ``fit`` finds on them; empty without a fit.
        manifest: The listing's manifest where it is finished.
        shards: All shards in listing order; empty where it is finished.
        done: Ids of those that are done.
    """

    run: StageRun
    listing: Listing
    fit_digest: str
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
    fit = fit_digest(run.stage, listing)
    if run.folder.has_manifest(listing.digest):
        manifest = run.folder.manifest(listing.digest)
        return Survey(run, listing, fit, manifest, (), frozenset())
    seconds = run.stage.resources.seconds_per_item
    average = average_items(listing.num_items, seconds, items_per_shard)
    shards = tuple(shards_of(listing, average, fit))
    done = run.folder.done_shards() & {shard.id for shard in shards}
    return Survey(run, listing, fit, None, shards, frozenset(done))


def list_inputs(run: StageRun, limit: int | None) -> Listing:
    """Spool a stage's inputs, or the first ones, with what they read upstream in their identity."""
    items = traced_items(run.stage, run.upstream)
    return spool(items, run.folder, run.stage.label, limit=limit)


def fit_digest(stage: Stage, listing: Listing) -> str:
    """Return the name of what the stage's ``fit`` finds on this listing; empty for a stage without
    one.
    """
    if not stage.fit_items:
        return ""
    hasher = hashlib.blake2b(str(stage.fit_items).encode(), digest_size=8)
    for item in listing.items(0, stage.fit_items):
        hasher.update(item_digest(item.key, item.identity))
    return hasher.hexdigest()


def average_items(num_items: int, seconds_per_item: float, items_per_shard: int | None) -> int:
    """Return the aimed number of items per shard.

    Args:
        num_items: Length of the listing.
        seconds_per_item: Expected work per item in s.
        items_per_shard: What the user asked for; None for about a minute of work, less for small
            jobs. (Parts of a job are rounded down to a power of two, so that the size rarely
            changes when items are added.)
    """
    if items_per_shard is not None:
        return items_per_shard
    long_enough = math.ceil(LEAST_SECONDS / seconds_per_item)
    small = max(
        _part(num_items, SHARDS_TO_SPREAD), min(long_enough, _part(num_items, LEAST_SHARDS))
    )
    return max(1, min(round(SECONDS_PER_SHARD / seconds_per_item), small))


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
