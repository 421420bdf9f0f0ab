"""Rows that workers compute while others read them (``prepare.materialise: streamed``): the
reader's half, which knows no Ray.

A process that trains or evaluates holds one source of rows (``prepare.row_pool``), which asks the
workers. Its loader processes hold no connection to Ray: their rows come over a Unix socket from the
process that they load for. Without a source rows are computed in the reading process.
"""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from typing import Any, Protocol

from eagleray.prepare.answering import EncodedRow
from eagleray.prepare.computed import Computation, ComputedRows
from eagleray.task import Dataset, Rows

_KEY_BYTES = 32


class RowSource(Protocol):
    """Where a process has its streamed rows from. Safe to thread and to pickle."""

    def ask(self, label: str, keys: Iterable[str]) -> None:
        """Have rows computed that are read soon."""

    def read(self, label: str, key: str) -> EncodedRow:
        """Return a row, asked for or not; raises what its reader is to be told."""
        ...

    def forget(self, label: str, keys: Iterable[str]) -> None:
        """Let go of rows that were asked for and are not read."""

    def serve(self) -> None:
        """Be pickled, from now on, as what loader processes of this process read from."""


class StreamedRows(ComputedRows):
    """Rows that a source gives; computed in this process where there is none.

    Args:
        how: The stage, its inputs and where it runs.
        source: Gives the rows.
    """

    def __init__(self, how: Computation, source: RowSource | None = None) -> None:
        super().__init__(how)
        self._source = source
        self._last = threading.local()

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return (StreamedRows, (self._how, self._source))

    def at(self, place: str) -> StreamedRows:
        """Return the same rows for a process whose device is ``place``."""
        moved = super().at(place)
        return StreamedRows(moved.how, self._source)

    def from_source(self, source: RowSource) -> StreamedRows:
        """Return the same rows, given by a source."""
        return StreamedRows(self._how, source)

    @property
    def source(self) -> RowSource | None:
        """Return what gives the rows."""
        return self._source

    def ask(self, keys: Iterable[str]) -> None:
        """Have rows computed that are read soon."""
        if self._source is None:
            super().ask(keys)
        else:
            self._source.ask(self._stage.label, keys)

    def encoded(self, key: str) -> EncodedRow:
        """Return one row as it is sent; a thread that reads a row's files after it asks once."""
        if self._source is None:
            return super().encoded(key)
        if getattr(self._last, "key", None) != key:
            self.find_item(key)  # raises where there is no such row
            self._last.row = self._source.read(self._stage.label, key)
            self._last.key = key
        row: EncodedRow = self._last.row
        return row


def ask_rows(rows: Mapping[str, Rows], data: Dataset, indices: Iterable[int]) -> None:
    """Have the rows computed that samples of a dataset will read, where they are not stored."""
    wanted: dict[str, list[str]] = {}
    for index in indices:
        for label, key in data.reads(index):
            wanted.setdefault(label, []).append(key)
    for label, keys in wanted.items():
        own = rows[label]
        if isinstance(own, ComputedRows):
            own.ask(key for key in keys if key in own)


def source_of(rows: Mapping[str, Rows]) -> RowSource | None:
    """Return what gives the streamed rows of this process; None where none are streamed."""
    sources = (own.source for own in rows.values() if isinstance(own, StreamedRows))
    return next((source for source in sources if source is not None), None)


class RowServer:
    """Gives rows of a source to loader processes on this machine.

    Only who knows the key may ask; the socket lies in this process' own temporary folder.

    Args:
        source: Gives the rows.
    """

    def __init__(self, source: RowSource) -> None:
        self._source = source
        self.key = os.urandom(_KEY_BYTES)
        self._listener = Listener(None, "AF_UNIX", authkey=self.key)
        self.address = str(self._listener.address)
        threading.Thread(target=self._accept, name="rows", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except (AuthenticationError, EOFError, ConnectionError):
                continue  # somebody who does not know the key, or who went away
            except OSError:
                return  # closed
            threading.Thread(target=self._give, args=(connection,), daemon=True).start()

    def _give(self, connection: Connection) -> None:
        with connection, suppress(EOFError, OSError):
            while True:
                label, key = connection.recv()
                try:
                    row = self._source.read(label, key)
                    connection.send((bytes(memoryview(row.batch)), dict(row.files), b""))
                except Exception as error:
                    connection.send((b"", {}, portable(error)))


class SocketSource:
    """Rows from the process that a loader process loads for.

    Args:
        address: Path of its socket.
        key: Shows that we may ask.
    """

    def __init__(self, address: str, key: bytes) -> None:
        self._address, self._key = address, key
        self._open = threading.local()

    def __reduce__(self) -> tuple[type[SocketSource], tuple[str, bytes]]:
        return (SocketSource, (self._address, self._key))

    def ask(self, label: str, keys: Iterable[str]) -> None:
        """Do nothing: the process at the other end knows the order and asks by itself."""

    def forget(self, label: str, keys: Iterable[str]) -> None:
        """Do nothing: nothing is kept here."""

    def serve(self) -> None:
        """Do nothing: the address stays the same."""

    def read(self, label: str, key: str) -> EncodedRow:
        """Return a row; raises what the other end was told."""
        connection = getattr(self._open, "connection", None)
        if connection is None:
            connection = Client(self._address, "AF_UNIX", authkey=self._key)
            self._open.connection = connection
        connection.send((label, key))
        batch, files, error = connection.recv()
        if error:
            raise pickle.loads(error)
        return EncodedRow(batch, files)


def portable(error: Exception) -> bytes:
    """Return an error as bytes that can be read elsewhere: itself, or its text."""
    try:
        content = pickle.dumps(error)
        pickle.loads(content)
        return content
    except Exception:
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
