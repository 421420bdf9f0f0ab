"""Fetching a file over HTTP so that a cut connection costs nothing: what has come is kept in a
``.part`` file and the rest is asked for (RFC 9110: Range, If-Range).

It is handed to pooch as its downloader. Pooch's own one begins every file at its first byte, and it
writes what comes before anybody can look at the status and the range of the answer.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import requests

from eagleray.progress import Progress
from eagleray.task import EaglerayError

_CHUNK_BYTES = 1 << 20
_TIMEOUT_S = (20.0, 60.0)
"""Until a connection stands, and between two pieces of an answer."""
_ATTEMPTS = 4
"""Tries in a row that bring not one byte before the command gives up."""
_PAUSE_S = 1.0
_MB = 1_000_000
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")


class DownloadError(EaglerayError):
    """A file could not be fetched, or is not the one that was published."""


class _CutError(Exception):
    """The connection ended early."""


class ResumingDownloader:
    """A downloader for pooch that goes on where an earlier one was cut off.

    Args:
        part: File that keeps what has come; beside it ``<part>.json`` says of which version.
        progress: Told about megabytes.
        has_checksum: The whole file will be verified, so that a part may be continued even where
            the server does not say which version of the file it is.
    """

    def __init__(self, part: Path, progress: Progress, *, has_checksum: bool) -> None:
        self._part, self._progress, self._has_checksum = part, progress, has_checksum
        self._state = part.with_name(part.name + ".json")

    def __call__(self, url: str, output_file: str, pooch: Any = None, **_: Any) -> None:
        """Fetch ``url`` into ``output_file``.

        Raises:
            DownloadError: The server refuses, or the connection was cut too often; what has come
                is kept.
        """
        self._part.parent.mkdir(parents=True, exist_ok=True)
        with self._locked():
            failures = 0
            while True:
                size = self._size()
                try:
                    self._transfer(url)
                    break
                except (_CutError, requests.ConnectionError, requests.Timeout) as error:
                    failures = 0 if self._size() > size else failures + 1
                    if failures >= _ATTEMPTS:
                        raise DownloadError(
                            f"{url}: the connection failed ({error}); {self._size()} bytes are "
                            f"kept in {self._part}, the same command goes on from there"
                        ) from error
                    self._progress.note(f"{url}: {error}; going on at {self._size()} bytes")
                    time.sleep(_PAUSE_S * failures)
            shutil.move(self._part, output_file)
            self._state.unlink(missing_ok=True)

    def _transfer(self, url: str) -> None:
        """Ask for what is missing and append it; returns when the file is complete."""
        start = self._size()
        with requests.get(
            url, headers=self._headers(url, start), stream=True, timeout=_TIMEOUT_S
        ) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                if _total(answer) == start:
                    return
                self._part.unlink()
                raise _CutError("the file on the server has changed")
            _check_answer(url, answer)
            is_rest = answer.status_code == requests.codes.partial_content
            if is_rest and _start(answer) != start:
                self._part.unlink()
                raise _CutError("the server sent another part than it was asked for")
            start = start if is_rest else 0
            self._remember(url, answer)
            self._receive(answer, start)

    def _receive(self, answer: requests.Response, start: int) -> None:
        total = _total(answer)
        if total is not None:
            _check_room(self._part.parent, total - start)
        done = start
        self._progress.start(
            f"{self._part.stem}, MB" + (f" (from {start // _MB})" if start else ""),
            ((total or 0) - start) // _MB,
        )
        try:
            with self._part.open("r+b" if start else "wb") as handle:
                handle.seek(start)
                handle.truncate()
                for chunk in answer.iter_content(_CHUNK_BYTES):
                    handle.write(chunk)
                    self._progress.advance((done + len(chunk)) // _MB - done // _MB)
                    done += len(chunk)
        except requests.exceptions.ChunkedEncodingError as error:
            raise _CutError("the connection was cut") from error
        finally:
            self._progress.finish()
        if total is not None and done != total:
            raise _CutError(f"{done} of {total} bytes came")

    def _headers(self, url: str, start: int) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}
        if not start:
            return headers
        known = self._known(url)
        if known.get("version"):
            return {**headers, "Range": f"bytes={start}-", "If-Range": known["version"]}
        if known and self._has_checksum:
            return {**headers, "Range": f"bytes={start}-"}
        return headers

    def _remember(self, url: str, answer: requests.Response) -> None:
        tag = answer.headers.get("ETag", "")
        version = (
            answer.headers.get("Last-Modified", "") if tag.startswith("W/") or not tag else tag
        )
        self._state.write_text(json.dumps({"url": url, "version": version}))

    def _known(self, url: str) -> dict[str, str]:
        """Return what is known about the part, nothing if it is of another address."""
        try:
            found = json.loads(self._state.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) and found.get("url") == url else {}

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        path = self._part.with_name(self._part.name + ".lock")
        with path.open("w") as handle:
            _lock(handle, self._part)
            try:
                yield
            finally:
                path.unlink(missing_ok=True)


def _lock(handle: IO[str], part: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DownloadError(
            f"another process is fetching {part}: wait for it, or choose another folder"
        ) from error


def _check_answer(url: str, answer: requests.Response) -> None:
    if answer.status_code >= requests.codes.internal_server_error:
        raise _CutError(f"the server answers {answer.status_code} {answer.reason}")
    if not answer.ok:
        raise DownloadError(
            f"{url}: the server answers {answer.status_code} {answer.reason}; the file may have "
            "moved or need a login: fetch it with a browser and give it with --from FILE"
        )
    if answer.headers.get("Content-Type", "").startswith("text/html"):
        raise DownloadError(
            f"{url}: the server answers with a web page instead of the file: fetch it with a "
            "browser and give it with --from FILE"
        )


def _check_room(folder: Path, missing_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < missing_bytes:
        raise DownloadError(
            f"{missing_bytes} bytes are still to come, but {folder} has room for {free}: free some "
            "or choose another folder with --to"
        )


def _start(answer: requests.Response) -> int | None:
    found = _CONTENT_RANGE.match(answer.headers.get("Content-Range", ""))
    return int(found[1]) if found and found[1] else None


def _total(answer: requests.Response) -> int | None:
    """Return the size of the whole file, None if the server does not tell."""
    found = _CONTENT_RANGE.match(answer.headers.get("Content-Range", ""))
    if found:
        return None if found[2] == "*" else int(found[2])
    length = answer.headers.get("Content-Length")
    return int(length) if length and length.isdigit() else None
