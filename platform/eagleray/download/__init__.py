"""Named weights and data files: found in the tasks, fetched with resume, verified, unpacked."""

from eagleray.download.catalog import catalog, find_download
from eagleray.download.checksum import DownloadError
from eagleray.download.fetch import fetch, place

__all__ = ["DownloadError", "catalog", "fetch", "find_download", "place"]
