"""What can be downloaded: the records of all installed tasks."""

from __future__ import annotations

import logging

from eagleray.experiment.discovery import installed_tasks, nearest, task_type
from eagleray.task import Download, SettingsError

_log = logging.getLogger(__name__)


def catalog() -> dict[str, Download]:
    """Return the downloads of all installed tasks by name, sorted; tasks that cannot be imported
    are left out.

    Raises:
        SettingsError: Two tasks use a name for different files.
    """
    found: dict[str, Download] = {}
    for name in installed_tasks():
        try:
            records = task_type(name).downloads()
        except SettingsError as error:
            _log.warning("%s", error)
            continue
        for record in records:
            if found.setdefault(record.name, record) != record:
                raise SettingsError(
                    f"task {name!r} calls {record.url} {record.name!r}, but another task has "
                    f"{found[record.name].url} under that name: rename one of them"
                )
    return dict(sorted(found.items()))


def find_download(name: str) -> Download:
    """Return a download by name.

    Raises:
        SettingsError: There is none of that name.
    """
    known = catalog()
    if name not in known:
        raise SettingsError(f"there is no download {name!r}; {nearest(name, list(known))}")
    return known[name]
