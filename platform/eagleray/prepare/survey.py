"""What there is to do for a stage: its inputs, its shards, and which of them are done. Computes
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from eagleray.prepare.cuts import Shard, average_items, shards_of
from eagleray.prepare.fit import fit_digest
from eagleray.prepare.listing import Listing, spool
from eagleray.prepare.manifest import Manifest, has_manifest, read_manifest
from eagleray.prepare.marker import done_shards
from eagleray.prepare.upstream import traced_items
from eagleray.storage import Store
from eagleray.task import Rows, Stage


@dataclass(frozen=True)
class Survey:
    """A stage's work.

    Args:
        listing: The inputs.
        fit_digest: Name of what ``fit`` finds on them; empty without a fit.
        manifest: The listing's manifest where it is finished.
        shards: All shards in listing order; empty where it is finished.
        done: Ids of those that are done.
    """

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


def survey(
    stage: Stage,
    folder: Store,
    upstream: Mapping[str, Rows],
    *,
    items_per_shard: int | None,
    limit: int | None,
) -> Survey:
    """List a stage's inputs, cut them and look up what is done.

    Args:
        stage: The stage.
        folder: Its folder.
        upstream: The rows that it reads, by label.
        items_per_shard: Average items per shard; None for about a minute of work.
        limit: Look at the first items only.
    """
    listing = spool(traced_items(stage, upstream), folder, stage.label, limit=limit)
    fit = fit_digest(stage, listing)
    if has_manifest(folder, listing.digest):
        manifest = read_manifest(folder, listing.digest)
        return Survey(listing, fit, manifest, (), frozenset())
    average = average_items(listing.num_items, stage.resources.seconds_per_item, items_per_shard)
    shards = tuple(shards_of(listing, average, fit))
    done = done_shards(folder) & {shard.id for shard in shards}
    return Survey(listing, fit, None, shards, frozenset(done))
