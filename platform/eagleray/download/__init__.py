"""Named weights and data files: found in the tasks, fetched with resume, verified, unpacked."""

from eagleray.download.fetch import catalog, fetch, find_download, place
from eagleray.download.transfer import DownloadError

__all__ = ["DownloadError", "catalog", "fetch", "find_download", "place"]
