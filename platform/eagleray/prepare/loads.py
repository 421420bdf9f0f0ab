"""Where a worker has its items loaded ahead of the device: in threads of its own, and in processes
elsewhere where those cannot keep up.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from eagleray.prepare.faults import persistently
from eagleray.task import Item, Stage

_log = logging.getLogger(__name__)

LoadElsewhere = Callable[[Item], Any]
"""Returns what ``Stage.load`` gives for an item, from another process; raises where that process
cannot, whatever the reason."""


class Loads:
    """Loads items of a stage in threads; some of them may only wait for other processes.

    What another process cannot load (it died, its machine is gone, the item is bad) is loaded here:
    so an error is the stage's own, with its traceback, wherever the item was tried first.

    Args:
        stage: The stage, set up.
        elsewhere: Loads an item in another process; None where there is none.
        places: Items that may be on their way elsewhere at a time.
    """

    def __init__(
        self, stage: Stage, elsewhere: LoadElsewhere | None = None, places: int = 0
    ) -> None:
        self._stage, self._elsewhere = stage, elsewhere
        self._num_here = stage.resources.loader_threads
        self.num_places = self._num_here + (places if elsewhere is not None else 0)
        self._order, self._thread = itertools.count(), threading.local()
        self._threads = ThreadPoolExecutor(self.num_places, "load", initializer=self._begin)

    def submit(self, item: Item) -> Future[Any]:
        """Begin to load an item; the future raises what ``Stage.load`` does."""
        return self._threads.submit(self.load, item)

    def start(self, work: Callable[[str], None], key: str) -> None:
        """Begin some work that is to ``load`` an item, in one of the threads."""
        self._threads.submit(work, key)

    def close(self) -> None:
        """End the threads; what has not begun is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def here(self, item: Item) -> Any:
        """Load an item in this thread, again where storage or network fail for a moment."""
        return persistently(lambda: self._stage.load(item))

    def _begin(self) -> None:
        self._thread.waits = next(self._order) >= self._num_here

    def load(self, item: Item) -> Any:
        """Load an item, in one of the threads: some of them only wait for other processes."""
        if self._elsewhere is not None and self._thread.waits:
            try:
                return self._elsewhere(item)
            except Exception as error:
                _log.info("item %s is loaded here: %s", item.key, error)
        return self.here(item)
