"""Files on any storage: a local folder or an object store, with the guarantees that design 4
needs.
"""

from eagleray.storage.store import Store, checked_name

__all__ = ["Store", "checked_name"]
