"""Pictures of evaluations over HTTP: the file as it is, or a thumbnail that is made once.

Only PNG files below ``runs/<experiment>/<run>/evaluation/`` are ever sent.
"""

from __future__ import annotations

import hashlib
import io
import os
import uuid
from pathlib import Path

import flask
from PIL import Image

from eagleray.dashboard.address import link
from eagleray.dashboard.source import Source
from eagleray.runs.evaluation import Picture
from eagleray.runs.run_folder import RunFolder, is_run_name
from eagleray.task import EaglerayError

THUMBNAIL_PX = 320
_LONGEST_SIDE_PX = 20_000
_PNG = b"\x89PNG\r\n\x1a\n"
_KEEP = "private, max-age=31536000, immutable"


def picture_link(run: str, picture: Picture, *, is_thumbnail: bool = False) -> str:
    """Return the address of a picture; it changes when the picture does."""
    kind = "thumbnail" if is_thumbnail else "picture"
    return link([kind, *run.split("/"), *picture.path.split("/")], v=picture.sha256[:16])


def add_picture_routes(server: flask.Flask, source: Source) -> None:
    """Answer the addresses of pictures."""

    @server.get("/picture/<experiment>/<run>/<path:path>")
    def picture(experiment: str, run: str, path: str) -> flask.Response:
        content = _read_png(source, f"{experiment}/{run}", path)
        return _answer(content, "image/png")

    @server.get("/thumbnail/<experiment>/<run>/<path:path>")
    def thumbnail(experiment: str, run: str, path: str) -> flask.Response:
        name = f"{experiment}/{run}"
        version = flask.request.args.get("v", "")
        digest = hashlib.sha256(f"{source.uri}\n{name}\n{path}\n{version}".encode()).hexdigest()
        kept = source.cache / "thumbnails" / digest[:2] / f"{digest}.jpg"
        try:
            return _answer(kept.read_bytes(), "image/jpeg")
        except OSError:
            pass
        content = _small(_read_png(source, name, path))
        _keep(kept, content)
        return _answer(content, "image/jpeg")


def _read_png(source: Source, run: str, path: str) -> bytes:
    if (
        not is_run_name(run)
        or not path.startswith(f"{RunFolder.EVALUATION}/")
        or not path.endswith(".png")
    ):
        flask.abort(404)
    try:
        if not source.is_inside(run, path):
            flask.abort(404)
        content = source.folder(run).read(path)
    except (OSError, ValueError, EaglerayError):
        flask.abort(404)
    if not content.startswith(_PNG):
        flask.abort(415)
    return content


def _small(content: bytes) -> bytes:
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as opened:
            if max(opened.size) > _LONGEST_SIDE_PX:
                flask.abort(415)
            image = opened.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        flask.abort(415)
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=85)
    return buffer.getvalue()


def _keep(path: Path, content: bytes) -> None:
    """Keep a thumbnail; where that is not possible it is made again the next time."""
    temporary = path.with_suffix(f".{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, path)  # noqa: PTH105
    except OSError:
        temporary.unlink(missing_ok=True)


def _answer(content: bytes, kind: str) -> flask.Response:
    response = flask.Response(content, mimetype=kind)
    response.headers["Cache-Control"] = _KEEP
    return response
