"""A line to a webhook when work on a run ends or fails: ``EAGLERAY_WEBHOOK`` holds its address.

The body is JSON with ``text``, which Slack and Mattermost show, and the same in fields. A webhook
that does not answer costs a few seconds and a warning, never the run.
"""

from __future__ import annotations

import json
import logging
import os
import urllib.error
import urllib.request
from urllib.parse import urlsplit

WEBHOOK = "EAGLERAY_WEBHOOK"
_TIMEOUT_S = 5.0

_log = logging.getLogger(__name__)


def alert(run: str, part: str, outcome: str, seconds: float, host: str) -> None:
    """Tell the webhook, where one is set, how a part of a command ended.

    Args:
        run: The run as ``experiment/run``.
        part: ``train`` or ``evaluate``.
        outcome: ``done``, or the type of what ended it.
        seconds: How long it took.
        host: On which machine.
    """
    address = os.environ.get(WEBHOOK, "")
    if not address:
        return
    if not _is_web(address):
        _log.warning("%s is no http(s) address: nobody is told of %s", WEBHOOK, run)
        return
    ended = "done" if outcome == "done" else f"ended by {outcome}"
    text = f"eagleray: {part} of {run} {ended} after {seconds / 60:.1f} min on {host}"
    fields = {"run": run, "part": part, "outcome": outcome, "seconds": seconds, "host": host}
    request = urllib.request.Request(
        address,
        data=json.dumps({"text": text, **fields}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S):
            return
    except (OSError, ValueError) as error:  # the address may hold a secret: it is not said
        reason = (
            f"status {error.code}" if isinstance(error, urllib.error.HTTPError) else "no answer"
        )
        _log.warning("the webhook of %s was not told of %s: %s", WEBHOOK, run, reason)


def _is_web(address: str) -> bool:
    try:
        return urlsplit(address).scheme in ("http", "https")
    except ValueError:  # brackets that are no host
        return False
