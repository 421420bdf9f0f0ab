"""Files on any storage: a local folder or an object store.

Whole writes (``store.py``), results that are there completely or not at all (``committed.py``),
and folders in a layout that other programs read (``folder_writer.py``).
"""

from eagleray.storage.committed import DamagedError, commit, have_sizes, read_checked, retract
from eagleray.storage.committed import sha256 as sha256
from eagleray.storage.folder_writer import FolderWriter
from eagleray.storage.store import Store, checked_name

__all__ = [
    "DamagedError",
    "FolderWriter",
    "Store",
    "checked_name",
    "commit",
    "have_sizes",
    "read_checked",
    "retract",
    "sha256",
]
