"""Views of the dashboard that people gave a name: addresses, in ``<storage>/views.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping

from eagleray.runs.records import encode_json
from eagleray.storage import Store
from eagleray.task import SettingsError

VIEWS_FILE = "views.json"
MOST_VIEWS, LONGEST_NAME, LONGEST_ADDRESS = 100, 60, 4000


def read_views(storage: str) -> dict[str, str]:
    """Return addresses by name; what is damaged or leads elsewhere is left out."""
    try:
        stored = json.loads(Store(storage).read_many([VIEWS_FILE]).get(VIEWS_FILE, b"{}"))
    except ValueError:
        return {}
    known: Mapping[str, object] = stored if isinstance(stored, dict) else {}
    return {name: at for name, at in known.items() if isinstance(at, str) and _is_own(at)}


def save_view(storage: str, name: str, address: str) -> None:
    """Keep an address under a name, in place of the one before; an empty address forgets it.

    Raises:
        SettingsError: The name or the address is not usable.
    """
    views = read_views(storage)
    if not address:
        views.pop(name, None)
    elif not 1 <= len(name.strip()) <= LONGEST_NAME:
        raise SettingsError(f"the name of a view has 1 to {LONGEST_NAME} characters")
    elif not _is_own(address) or len(address) > LONGEST_ADDRESS:
        raise SettingsError(f"{address[:80]!r} is no address of a page")
    else:
        views[name.strip()] = address
    if len(views) > MOST_VIEWS:
        raise SettingsError(f"{MOST_VIEWS} views are kept; forget one first")
    Store(storage).write(VIEWS_FILE, encode_json(views))


def _is_own(address: str) -> bool:
    """Return whether an address is a page of this dashboard, which two slashes would leave."""
    return address.startswith("/") and not address.startswith(("//", "/\\"))
