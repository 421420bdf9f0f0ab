"""The folder of one stage: every path in it, and the type of everything that is stored there.

    prepared/<task>/<stage>/<fingerprint>/
        stage.json                          what the fingerprint hashes, for people
        code.json                           digests of the modules that made the results
        listing/<digest>.json               a listing of inputs: its parts, in order
        listing/<hash>.parquet              a part; named by content, shared by listings
        fit/<digest>.json                   what ``Stage.fit`` found on the first items
        shards/<shard>-<sha256>.parquet     rows
        files/<shard>/<name>-<sha256>.<x>   files that records carry
        markers/<shard>.json                created last and only once: the shard is there
        manifest/<digest>.json              a finished listing: its shards in order, totals, summary
        manifest/<digest>.keys.parquet      all record keys in order, written before it
        current.json                        the listing finished last
        log/<time>.jsonl                    seconds per shard; timings appear nowhere else

Evaluation and prediction are stages too: their folders lie elsewhere and hold the same. Nobody
else puts these paths together or knows the keys of these JSON files.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from eagleray.prepare.code import Code
from eagleray.prepare.fingerprint import StageDescription, canonical_json, short_hash
from eagleray.prepare.guard import users_of
from eagleray.prepare.marker import CommittedFile, Manifest, Reject, ShardEntry, ShardMarker
from eagleray.storage import DamagedError, Store, commit, read_checked, sha256
from eagleray.task import EaglerayError

_ROOT = "prepared"
ANY_TASK = "*"
"""Stands for a task whose name a damaged run does not say any more."""
_PIECE_BYTES = 4 << 20
_CHECKED: set[str] = set()
"""Files that this process has compared with their checksums."""
_DAMAGED = (EaglerayError, ValueError, KeyError, TypeError, OSError)
"""What reading a damaged JSON file can raise."""


@dataclass(frozen=True, slots=True)
class ListingPart:
    """A stretch of a listing: the name of its Parquet file, and the number of its items."""

    name: str
    num_items: int


class StageAddress(NamedTuple):
    """Which prepared stage: that of a task, by name and fingerprint."""

    task: str
    stage: str
    fingerprint: str

    @property
    def path(self) -> str:
        """Path of its folder below the storage."""
        return f"{_ROOT}/{self.task}/{self.stage}/{self.fingerprint}"


@dataclass(frozen=True, slots=True)
class StageFolder:
    """What a stage has stored. Picklable.

    Args:
        store: The folder.
    """

    store: Store

    @classmethod
    def prepared(cls, storage: Store, address: StageAddress) -> StageFolder:
        """Return the folder of a prepared stage."""
        return cls(storage.child(address.path))

    @property
    def uri(self) -> str:
        """Where it is."""
        return self.store.uri

    @property
    def fingerprint(self) -> str:
        """The folder's own name: what its results depend on, apart from the inputs."""
        return self.uri.rstrip("/").rsplit("/", 1)[-1]

    def describe(self, description: StageDescription) -> None:
        """Say for people what the fingerprint hashes."""
        self.store.create("stage.json", description.encode())

    def write_code(self, code: Code) -> None:
        """Say which code makes the results."""
        self.store.write("code.json", code.encode())

    def read_code(self) -> Code | None:
        """Return which code made the results; None where that is not known."""
        try:
            return Code.decode(self.store.read("code.json"))
        except _DAMAGED:
            return None

    # -- inputs

    def write_part(self, content: bytes) -> str:
        """Write a part of a listing, unless it is there; return its name."""
        name = f"{short_hash(content)}.parquet"
        if not self.store.exists(f"listing/{name}"):
            self.store.write(f"listing/{name}", content)
        return name

    def read_part(self, name: str) -> bytes:
        """Return a part of a listing."""
        return self.store.read(f"listing/{name}")

    def write_listing(self, digest: str, parts: Sequence[ListingPart]) -> None:
        """Name the parts of a listing, in order; they must be there."""
        items = sum(part.num_items for part in parts)
        index = {"items": items, "parts": [[part.name, part.num_items] for part in parts]}
        self.store.create(f"listing/{digest}.json", canonical_json(index))

    def read_listing(self, digest: str) -> tuple[ListingPart, ...]:
        """Return the parts of a listing; raises FileNotFoundError."""
        index = json.loads(self.store.read(f"listing/{digest}.json"))
        return tuple(ListingPart(name, num_items) for name, num_items in index["parts"])

    def write_fitted(self, digest: str, fitted: Mapping[str, Any], label: str) -> None:
        """Store what ``fit`` of the stage ``label`` found, unless it is there."""
        content = canonical_json(fitted, f"what fit of stage {label} returns")
        self.store.create(f"fit/{digest}.json", content)

    def set_current_fit(self, digest: str) -> None:
        """Note what ``fit`` found on the whole listing of the source that fits, for whoever
        prepares another source where that one is not.
        """
        if self.current_fit() != digest:
            self.store.write("current_fit.json", canonical_json({"digest": digest}))

    def current_fit(self) -> str | None:
        """Return what was noted last; None where nothing was."""
        try:
            digest: str = json.loads(self.store.read("current_fit.json"))["digest"]
            return digest
        except (FileNotFoundError, ValueError, KeyError):
            return None

    def read_fitted(self, digest: str) -> Mapping[str, Any] | None:
        """Return what ``fit`` found, nothing for a stage without one (an empty digest), and None
        where it has not run yet.
        """
        if not digest:
            return {}
        try:
            fitted: Mapping[str, Any] = json.loads(self.store.read(f"fit/{digest}.json"))
        except FileNotFoundError:
            return None
        return fitted

    # -- shards

    def write_file(self, file: CommittedFile, content: bytes) -> None:
        """Write a file that a record carries; its shard's marker makes it count."""
        self.store.write(file.path, content)

    def commit_shard(self, marker: ShardMarker, content: bytes) -> ShardMarker:
        """Write a shard's rows, then its marker; return the marker that counts.

        Two processes may compute one shard (a worker that was taken for dead, a second driver).
        Their data have different names, and only one of them can create the marker: this fences
        off the other, whose files are never read.
        """
        if commit(self.store, {marker.data: content}, _marker(marker.shard), marker.encode()):
            return marker
        return self.marker(marker.shard)

    def marker(self, shard_id: str) -> ShardMarker:
        """Return a shard's marker; raises FileNotFoundError where it is not done."""
        return ShardMarker.decode(self.store.read(_marker(shard_id)))

    def markers(self, shard_ids: Iterable[str]) -> Iterator[ShardMarker]:
        """Yield the markers of several shards in the order of their ids, reading some at a time."""
        with ThreadPoolExecutor(self.store.readers) as pool:
            yield from pool.map(self.marker, shard_ids)

    def done_shards(self) -> set[str]:
        """Return the ids of all shards that are done."""
        return set(_names(self.store, "markers", ".json"))

    def readable_markers(self) -> tuple[list[ShardMarker], list[str]]:
        """Return the markers of the listing finished last, or of all shards where none is; and what
        cannot be read, one line each.
        """
        problems: list[str] = []
        try:
            shard_ids = [shard.shard for shard in self.manifest().shards]
        except _DAMAGED as error:
            shard_ids = sorted(self.done_shards())
            problems.append(f"the evaluation is not finished: {error}")
        try:
            return list(self.markers(shard_ids)), problems
        except _DAMAGED:
            pass  # one of them is damaged: read them one by one
        markers = []
        for shard_id in shard_ids:
            try:
                markers.append(self.marker(shard_id))
            except _DAMAGED as error:
                problems.append(f"marker of shard {shard_id} is damaged: {error}")
        return markers, problems

    def verify_shard(self, shard_id: str) -> tuple[int, list[tuple[str, str]]]:
        """Compare a shard's rows and files with the checksums in its marker; return the number of
        files, and path and reason of each that is not as it says.
        """
        try:
            marker = self.marker(shard_id)
        except _DAMAGED as error:
            return 1, [(_marker(shard_id), f"the marker cannot be read ({error})")]
        promised = {marker.data: marker.sha256, **{f.path: f.sha256 for f in marker.files}}

        def problem(path: str) -> str:
            try:
                read_checked(self.store, path, promised[path])
            except FileNotFoundError:
                return "it is gone"
            except (DamagedError, OSError) as error:
                return str(error)
            return ""

        with ThreadPoolExecutor(self.store.readers) as pool:
            found = list(zip(promised, pool.map(problem, promised), strict=True))
        return len(promised), [(path, why) for path, why in found if why]

    def unreadable_manifests(self) -> list[str]:
        """Return the paths of manifests, and of their keys, that cannot be read."""
        damaged = []
        for listing in _names(self.store, "manifest", ".json"):
            try:
                manifest = self.manifest(listing)
            except _DAMAGED:
                damaged.append(_manifest(listing))
                continue
            try:
                content = self.read_keys(listing, manifest.keys)
                num_keys = pq.read_table(BytesIO(content)).num_rows
            except (*_DAMAGED, DamagedError, pa.ArrowException):
                num_keys = -1
            if num_keys != manifest.rows:
                damaged.append(_keys(listing))
        return damaged

    def gone_shards(self) -> list[str]:
        """Return the shards that are marked as done, but whose rows or files are gone.

        Only names are compared, so that every call can afford it; ``verify_shard`` compares
        contents.
        """
        there = {path.rpartition("/")[2].partition("-")[0] for path in self.store.files("shards")}
        gone = self.done_shards() - there
        with_files: set[str] = set()
        for listing in _names(self.store, "manifest", ".json"):
            with suppress(*_DAMAGED):
                shards = self.manifest(listing).shards
                with_files |= {s.shard for s in shards if s.total_bytes > s.num_bytes}
        if with_files:
            gone |= with_files - set(self.store.folders("files"))
        return sorted(gone)

    def check_rows(self, shard: ShardEntry) -> None:
        """Compare a shard's Parquet file with its checksum when this process reads it first.

        On a local disk only: an object store compares what it delivers, and reading all of a file
        for one row group would move it twice. The name holds the digits that are compared.

        Raises:
            DamagedError: The file is not what was committed.
        """
        name = f"{self.uri}/{shard.data}"
        if name in _CHECKED or not self.store.is_local:
            return
        digest = hashlib.sha256()
        with self.open_rows(shard) as handle:
            while piece := handle.read(_PIECE_BYTES):
                digest.update(piece)
        promised = PurePosixPath(shard.data).stem.rpartition("-")[2]
        if not digest.hexdigest().startswith(promised):
            raise DamagedError(f"SHA-256 {digest.hexdigest()[: len(promised)]} is not {promised}")
        _CHECKED.add(name)

    def open_rows(self, shard: ShardEntry, *, exact: bool = False) -> IO[bytes]:
        """Open a shard's Parquet file for random access, ``exact`` to fetch no more than is read;
        raises FileNotFoundError.
        """
        return self.store.open(shard.data, exact=exact)

    def read_rows(self, shard: ShardEntry | ShardMarker) -> bytes:
        """Return a shard's Parquet file."""
        return self.store.read(shard.data)

    def read_file(self, file: CommittedFile) -> bytes:
        """Return a file that a record carries."""
        name = f"{self.uri}/{file.path}"
        if name in _CHECKED:
            return self.store.read(file.path)
        try:
            content = read_checked(self.store, file.path, file.sha256)
        except (DamagedError, FileNotFoundError) as error:
            shard = PurePosixPath(file.path).parts[1]
            raise DamagedError(self._damage(file.path, shard, error)) from error
        _CHECKED.add(name)
        return content

    @property
    def _storage(self) -> str:
        return self.uri.partition(f"/{_ROOT}/")[0].partition("/runs/")[0]

    def _damage(self, path: str, shard_id: str, error: Exception) -> str:
        return (
            f"{self.uri}/{path} of shard {shard_id} is missing or damaged ({error}): "
            f"`eagleray verify {self._storage} --repair` forgets what is damaged, then the same "
            "command computes just that"
        )

    def forget_listings(self) -> None:
        """Let every listing count as not finished; its shards stay."""
        self.store.delete("manifest", recursive=True)

    def forget_rejects(self) -> int:
        """Let the shards that hold rejected items count as not done; return their number."""
        rejecting = [m.shard for m in self.markers(sorted(self.done_shards())) if m.rejected]
        self.forget_shards(rejecting)
        return len(rejecting)

    def forget_shards(self, shard_ids: Sequence[str]) -> None:
        """Let shards count as not done, and with them every finished listing."""
        if shard_ids:
            self.store.delete("manifest", recursive=True)
        for shard_id in shard_ids:
            self.store.delete(_marker(shard_id))

    # -- finished listings

    def has_manifest(self, listing: str) -> bool:
        """Return whether a listing is finished."""
        return self.store.exists(_manifest(listing))

    def manifest(self, listing: str | None = None) -> Manifest:
        """Return a listing's manifest, or that of the listing finished last.

        Raises:
            EaglerayError: It is not finished.
        """
        try:
            if listing is None:
                listing = json.loads(self.store.read("current.json"))["listing"]
            return Manifest.decode(self.store.read(_manifest(str(listing))))
        except FileNotFoundError as error:
            raise EaglerayError(
                f"{self.uri} holds no finished stage: run `eagleray prepare` to its end first"
            ) from error

    def commit_manifest(self, manifest: Manifest) -> Manifest:
        """Finish a listing, whose keys are written; return the manifest that counts. One that rests
        on another fit (another source of the stage has fitted anew) is replaced.
        """
        self.store.create(_manifest(manifest.listing), manifest.encode())
        if self.manifest(manifest.listing).fit != manifest.fit:
            self.store.write(_manifest(manifest.listing), manifest.encode())
        return self.manifest(manifest.listing)

    def set_current(self, listing: str) -> None:
        """Name the listing finished last."""
        self.store.write("current.json", canonical_json({"listing": listing}))

    def write_keys(self, listing: str, content: bytes) -> str:
        """Write the index of a listing's record keys, a Parquet file; return its SHA-256."""
        self.store.write(_keys(listing), content)
        return sha256(content)

    def read_keys(self, listing: str, checksum: str = "") -> bytes:
        """Return the index of a listing's record keys.

        Args:
            listing: Which one.
            checksum: Its SHA-256, from the manifest; empty where that says none.

        Raises:
            DamagedError: It is gone, or another one.
        """
        path = _keys(listing)
        if not checksum:
            return self.store.read(path)
        try:
            return read_checked(self.store, path, checksum)
        except (DamagedError, FileNotFoundError) as error:
            raise DamagedError(
                f"{self.uri}/{path} is missing or damaged ({error}): "
                f"`eagleray verify {self._storage} --repair` forgets what is damaged, then the "
                "same command joins the stage's shards again"
            ) from error

    def rejects(self, listing: str | None = None) -> Iterator[Reject]:
        """Yield the rejected items of a finished listing, in order."""
        for shard in self.manifest(listing).shards:
            if shard.done < shard.items:
                yield from self.marker(shard.shard).rejected

    def describe_damage(self, shard: ShardEntry, error: Exception) -> str:
        """Say that a shard's rows cannot be read, and how they are computed again."""
        return self._damage(shard.data, shard.shard, error)

    # -- upkeep

    def write_log(self, lines: Sequence[bytes]) -> None:
        """Keep what one call did, a JSON value per line."""
        name = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        self.store.write(f"log/{name}.jsonl", b"\n".join(lines) + b"\n")

    def write_traces(self, traces: Sequence[str]) -> None:
        """Keep the tracebacks of items that failed in the stage's own code."""
        name = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        self.store.write(f"log/{name}-errors.txt", "\n".join(traces).encode("utf-8", "replace"))

    def remove_stale_temporaries(self) -> None:
        """Delete what killed writers left."""
        self.store.remove_stale_temporaries()

    def num_bytes(self) -> int:
        """Return the size of everything in the folder."""
        return sum(map(self.store.size, self.store.files(recursive=True)))

    def unreferenced(self) -> list[str]:
        """Return the files that no finished listing refers to.

        Where a listing is not finished, that is none: the same command would go on with it.
        """
        finished = set(_names(self.store, "manifest", ".json"))
        if not finished.issuperset(_names(self.store, "listing", ".json")):
            return []
        kept = {path for listing in finished for path in self._referred(listing)}
        return [
            path
            for path in self.store.files(recursive=True)
            if "/" in path and not path.startswith(("log/", "in_use/")) and path not in kept
        ]

    def _referred(self, listing: str) -> Iterator[str]:
        manifest = self.manifest(listing)
        yield from (_manifest(listing), _keys(listing), f"fit/{manifest.fit}.json")
        yield f"listing/{listing}.json"
        yield from (f"listing/{part.name}" for part in self.read_listing(listing))
        for shard in manifest.shards:
            yield from (shard.data, _marker(shard.shard))
            if shard.total_bytes > shard.num_bytes:
                yield from (file.path for file in self.marker(shard.shard).files)


@dataclass(frozen=True, slots=True)
class Prunable:
    """A folder or file below the storage that can be deleted.

    Args:
        path: Where, below the storage.
        bytes: Its size.
        reason: Why.
        is_folder: It is a folder, to be deleted with all it holds.
    """

    path: str
    bytes: int
    reason: str
    is_folder: bool


def prunable(storage: Store, used: Set[tuple[str, str, str]]) -> list[Prunable]:
    """Return the prepared data that can be deleted: whole fingerprints that no run uses, and inside
    used ones what no finished listing refers to.

    Args:
        storage: The storage.
        used: Task, stage and fingerprint of all data that runs refer to; the task may be
            ``ANY_TASK``.

    A stage that somebody works on is left alone.
    """
    entries: list[Prunable] = []
    for address in _prepared_stages(storage):
        folder = StageFolder.prepared(storage, address)
        if users_of(folder.store):
            continue
        if address not in used and (ANY_TASK, *address[1:]) not in used:
            entries.append(
                Prunable(address.path, folder.num_bytes(), "no run uses it", is_folder=True)
            )
            continue
        reason = "no finished listing refers to it"
        entries += [
            Prunable(f"{address.path}/{path}", folder.store.size(path), reason, is_folder=False)
            for path in folder.unreferenced()
        ]
    return entries


def delete_prunable(storage: Store, entries: Iterable[Prunable]) -> None:
    """Delete what ``prunable`` found; markers go before the data that they name."""
    for entry in sorted(entries, key=lambda entry: "/markers/" not in entry.path):
        if users_of(storage.child("/".join(entry.path.split("/")[:4]))):
            continue  # somebody began to work on the stage since it was looked at
        storage.delete(entry.path, recursive=entry.is_folder)


def prepared_folders(storage: Store) -> Iterator[StageFolder]:
    """Yield the folders of all prepared stages."""
    for address in _prepared_stages(storage):
        yield StageFolder.prepared(storage, address)


def _prepared_stages(storage: Store) -> Iterator[StageAddress]:
    for task in storage.folders(_ROOT):
        for stage in storage.folders(f"{_ROOT}/{task}"):
            for fingerprint in storage.folders(f"{_ROOT}/{task}/{stage}"):
                yield StageAddress(task, stage, fingerprint)


def _marker(shard_id: str) -> str:
    return f"markers/{shard_id}.json"


def _manifest(listing: str) -> str:
    return f"manifest/{listing}.json"


def _keys(listing: str) -> str:
    return f"manifest/{listing}.keys.parquet"


def _names(store: Store, inside: str, suffix: str) -> Iterator[str]:
    for path in store.files(inside):
        if path.endswith(suffix):
            yield path[len(inside) + 1 : -len(suffix)]
