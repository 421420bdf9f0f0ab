"""The verb that opens a run's scene in the browser."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class ViewFlags:
    """Look at a run from any side in the browser; one port, to be forwarded from a cluster."""

    run: Annotated[str, tyro.conf.Positional]
    """Run as EXPERIMENT/RUN, RUN, or EXPERIMENT."""
    storage: str = "storage"
    """Folder or URI that holds the runs."""
    checkpoint: str = "last"
    """Which checkpoint: best, last, initial, or a path to a model.safetensors."""
    host: str = "127.0.0.1"
    """Address to listen on; any other than this machine's own needs a token."""
    port: int = 8080
    """Port; 0 takes a free one."""
    max_side_px: int = 800
    """Longest side of a rendered image."""
    token: str = ""
    """The token that visitors need; by default a new one wherever others can reach the port."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it is rendered."""


def view(arguments: list[str]) -> int:
    """Open a run in the viewer until it is interrupted."""
    flags = tyro.cli(ViewFlags, args=arguments, prog="eagleray view")
    from eagleray.view.server import serve_forever, view_run

    viewer = view_run(
        flags.storage,
        flags.run,
        checkpoint=flags.checkpoint,
        host=flags.host,
        port=flags.port,
        max_side_px=flags.max_side_px,
        device=flags.device,
        token=flags.token,
    )
    sys.stdout.write(f"{viewer.address}  (Ctrl-C ends it)\n")
    sys.stdout.flush()
    serve_forever(viewer)
    return 0
