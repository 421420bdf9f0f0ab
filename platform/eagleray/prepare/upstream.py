"""What a stage reads from other stages, and how a change there reaches its items."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

from eagleray.prepare.canonical import canonical_json, short_hash
from eagleray.prepare.rows import IdentifiedRows
from eagleray.task import Item, Rows, Stage


def traced_items(stage: Stage, upstream: Mapping[str, Rows]) -> Iterator[Item]:
    """Yield the stage's items, their identity completed by what they may read upstream.

    An item whose key is a row upstream depends on that row, any other item on all rows; and where
    ``finish`` gave a summary upstream, on that summary.
    """
    sources = [rows for rows in upstream.values() if isinstance(rows, IdentifiedRows)]
    if not sources:
        yield from stage.items(upstream)
        return
    summaries = json.dumps([short_hash(canonical_json(rows.summary())) for rows in sources])
    for item in stage.items(upstream):
        seen = [rows.find_identity(item.key) or rows.digest for rows in sources]
        identity = short_hash(json.dumps([item.identity, summaries, *seen]).encode(), 16)
        yield replace(item, identity=identity)
