"""Files on any storage: a local folder or an object store.

Whole writes (``store.py``), results that are there completely or not at all (``committed.py``),
folders in a layout that other programs read (``folder_writer.py``), and files that processes on
several machines read (``shared_file.py``).
"""

from eagleray.storage.committed import DamagedError, commit, have_sizes, read_checked, retract
from eagleray.storage.committed import sha256 as sha256
from eagleray.storage.folder_writer import FolderWriter
from eagleray.storage.shared_file import SharedFile, is_uri
from eagleray.storage.store import Store, checked_name

__all__ = [
    "DamagedError",
    "FolderWriter",
    "SharedFile",
    "Store",
    "checked_name",
    "commit",
    "have_sizes",
    "is_uri",
    "read_checked",
    "retract",
    "sha256",
]
