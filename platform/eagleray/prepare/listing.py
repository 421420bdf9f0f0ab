"""A stage's inputs, listed once and spooled to Parquet parts, so that nobody holds them in memory.

A listing is named by a digest of its items; its parts are named by their content and shared between
listings.
"""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import islice

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from eagleray.prepare.fingerprint import DIGEST_BYTES, canonical_json, item_digest
from eagleray.prepare.folder import ListingPart, StageFolder
from eagleray.prepare.keys import find_duplicate, key_hash
from eagleray.task import EaglerayError, Item

ITEMS_PER_PART = 1 << 14
_ITEMS_PER_ROW_GROUP = 1 << 11
_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("identity", pa.string()),
        ("payload", pa.string()),
        ("key_hash", pa.uint64()),
        ("digest", pa.binary(DIGEST_BYTES)),
    ]
)


@dataclass(frozen=True)
class Listing:
    """A spooled listing: offsets only. Picklable.

    Args:
        folder: The stage's folder.
        digest: Name of the listing, a hash over its items in order.
        parts: In order.
    """

    folder: StageFolder
    digest: str
    parts: tuple[ListingPart, ...]

    @property
    def num_items(self) -> int:
        """Number of items listed."""
        return sum(part.num_items for part in self.parts)

    def items(self, start: int, count: int) -> list[Item]:
        """Return ``count`` items from position ``start`` on, reading no more than they need."""
        items: list[Item] = []
        offset = 0
        for part in self.parts:
            first, last = max(start, offset), min(start + count, offset + part.num_items)
            if first < last:
                items += self._read(part.name, first - offset, last - offset)
            offset += part.num_items
        return items

    def columns(self, *names: str) -> Iterator[pa.Table]:
        """Yield columns part by part: ``key``, ``identity``, ``key_hash`` (uint64), ``digest``."""
        for part in self.parts:
            content = pa.BufferReader(self.folder.read_part(part.name))
            yield pq.ParquetFile(content).read(columns=list(names), use_threads=False)

    def key_hashes(self) -> Iterator[npt.NDArray[np.uint64]]:
        """Yield the 64-bit hashes of the keys, (items of a part,), part by part."""
        for table in self.columns("key_hash"):
            yield table.column("key_hash").to_numpy()

    def _read(self, name: str, start: int, stop: int) -> Iterator[Item]:
        first = start // _ITEMS_PER_ROW_GROUP
        last = (stop - 1) // _ITEMS_PER_ROW_GROUP
        content = pa.BufferReader(self.folder.read_part(name))
        table = pq.ParquetFile(content).read_row_groups(
            list(range(first, last + 1)), columns=["key", "identity", "payload"], use_threads=False
        )
        rows = table.slice(start - first * _ITEMS_PER_ROW_GROUP, stop - start).to_pylist()
        return (Item(row["key"], row["identity"], json.loads(row["payload"])) for row in rows)


def spool(
    items: Iterable[Item], folder: StageFolder, what: str, *, limit: int | None = None
) -> Listing:
    """Write a listing to the stage's folder, unless it is there already, and return it.

    Args:
        items: The inputs in order.
        folder: The stage's folder.
        what: The stage's label, for messages.
        limit: Take the first items only.

    Raises:
        EaglerayError: Two items have the same key, or an item is malformed.
    """
    listing = _write_parts(items if limit is None else islice(items, limit), folder, what)
    twice = find_duplicate(lambda: listing.columns("key", "key_hash"), listing.num_items)
    if twice is not None:
        raise EaglerayError(f"stage {what} lists the key {twice!r} twice, keys must be unique")
    folder.write_listing(listing.digest, listing.parts)
    return listing


def open_listing(folder: StageFolder, digest: str) -> Listing:
    """Return a listing that is spooled already; raises FileNotFoundError."""
    return Listing(folder, digest, folder.read_listing(digest))


def _write_parts(items: Iterable[Item], folder: StageFolder, what: str) -> Listing:
    digest = hashlib.blake2b(digest_size=8)
    parts: list[ListingPart] = []
    rest = iter(items)
    gc.freeze()  # spares the collector all that was there before: a quarter of the time
    try:
        while chunk := list(islice(rest, ITEMS_PER_PART)):
            try:
                table, content_digest = _part(chunk, what)
            except UnicodeEncodeError as error:
                raise EaglerayError(
                    f"stage {what} lists {error.object!r}, which is no valid Unicode text "
                    "(a file name in another encoding?): rename it"
                ) from error
            digest.update(content_digest)
            parts.append(ListingPart(folder.write_part(_parquet(table)), len(chunk)))
    finally:
        gc.unfreeze()
    return Listing(folder, digest.hexdigest(), tuple(parts))


def _part(chunk: list[Item], what: str) -> tuple[pa.Table, bytes]:
    for item in chunk:
        if not (isinstance(item.key, str) and item.key and isinstance(item.identity, str)):
            raise EaglerayError(
                f"stage {what} lists {item!r}: key must be a string that is not empty, "
                "identity a string"
            )
    subject = f"stage {what}: the payload of an item"
    payloads = [canonical_json(item.payload, subject) for item in chunk]
    hashes = b"".join([key_hash(item.key) for item in chunk])
    digests = b"".join([item_digest(item.key, item.identity) for item in chunk])
    table = pa.table(
        [
            pa.array([item.key for item in chunk]),
            pa.array([item.identity for item in chunk]),
            pa.array(payloads, type=pa.binary()).cast(pa.string()),
            pa.array(np.frombuffer(hashes, "<u8")),
            pa.Array.from_buffers(
                pa.binary(DIGEST_BYTES), len(chunk), [None, pa.py_buffer(digests)]
            ),
        ],
        schema=_SCHEMA,
    )
    return table, digests + b"\0".join(payloads)


def _parquet(table: pa.Table) -> bytes:
    sink = BytesIO()
    pq.write_table(
        table,
        sink,
        row_group_size=_ITEMS_PER_ROW_GROUP,
        compression="zstd",
        version="2.6",
        use_dictionary=False,
        write_statistics=False,
    )
    return sink.getvalue()
