"""The workers of streamed stages and who asks them, with actors played by threads of this process;
``train/test_streamed.py`` has real ones.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
from types import SimpleNamespace

import pytest
from ray.exceptions import RayActorError
from tests.eagleray.stages import Squares, folder_of

from eagleray.options import RunOptions
from eagleray.prepare import ComputedRows, StageRun, row_pool
from eagleray.prepare.row_pool import PoolSource, _Blame, _RowWorker
from eagleray.prepare.streamed import SocketSource, StreamedRows, source_of
from eagleray.task import InputError

LABEL = "squares"


class Ref:
    """What a call to a played actor returns."""

    def __init__(self, future: Future) -> None:
        self.future = future

    def __await__(self):
        return asyncio.wrap_future(self.future).__await__()


class Actor:
    """A class that answers calls in a thread of its own, dies on request and is started again."""

    def __init__(self, loop, make):
        self._loop, self._make, self._open = loop, make, []
        self._self, self.num_deaths = make(), 0

    def __getattr__(self, method):
        def remote(*arguments):
            ref, me = Ref(Future()), self._self
            self._open.append(ref)

            async def call():
                try:
                    result = getattr(me, method)(*arguments)
                    value = await result if asyncio.iscoroutine(result) else result
                except BaseException as error:
                    if not ref.future.done():
                        ref.future.set_exception(error)
                else:
                    if not ref.future.done():
                        ref.future.set_result(value)

            asyncio.run_coroutine_threadsafe(call(), self._loop)
            return ref

        return SimpleNamespace(remote=remote)

    def die(self):
        """Lose everything that was being done, and begin anew."""
        self.num_deaths += 1
        lost, self._open, self._self = self._open, [], self._make()
        for ref in lost:
            if not ref.future.done():
                ref.future.set_exception(RayActorError())


class Deadly(Squares):
    """Kills the actor that it runs in at some numbers."""

    actor: Actor

    def process(self, samples):
        if set(samples) & set(self.deadly):
            type(self).actor.die()
            raise SystemExit
        return [self._records(number) for number in samples]


@pytest.fixture
def play(tmp_path, monkeypatch):
    """Play a pool of workers of a stage; returns the rows by their source, and the actors."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(row_pool, "_PAUSE_S", 0.01)
    monkeypatch.setattr(row_pool, "ray", SimpleNamespace(get=lambda ref: ref.future.result(20)))

    def start(stage, num_workers=1):
        rows = StreamedRows.open(StageRun(stage, folder_of(tmp_path)), RunOptions(inline=True))
        blame = Actor(loop, _Blame)
        actors = [
            Actor(loop, lambda n=n: _RowWorker(n, blame, {LABEL: rows.how}, 1))
            for n in range(num_workers)
        ]
        Deadly.actor = actors[0]
        source = PoolSource(actors, blame)
        return rows.from_source(source), source, actors

    yield start
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0.05), loop).result()  # calls under way end
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_workers_give_what_the_reading_process_would(play, tmp_path):
    stage = Squares(40, files=True, bad=[3])
    rows, source, _ = play(stage, num_workers=3)
    here = ComputedRows.open(StageRun(stage, folder_of(tmp_path)), RunOptions(inline=True))
    keys = [key for key in rows.keys() if key != "n00003"]  # noqa: SIM118
    rows.ask(keys[:10])
    assert source.num_asked == 10
    for key in keys:
        a, b = dict(rows[key]), dict(here[key])
        assert a.pop("digits").tolist() == b.pop("digits").tolist() and a == b
        assert rows.read_file(key, "notes/square.txt") == here.read_file(key, "notes/square.txt")
    assert source.num_asked == 0, "what is read is let go"
    with pytest.raises(InputError, match="3 is bad"):
        rows["n00003"]
    with pytest.raises(KeyError, match="n99"):
        rows["n99"]


def test_what_is_not_read_is_let_go(play):
    rows, source, _ = play(Squares(10))
    rows.ask(["n00001", "n00002"])
    source.forget(LABEL, ["n00001", "n00007"])
    assert source.num_asked == 1


def test_only_the_item_that_kills_is_charged(play):
    rows, _, (actor,) = play(Deadly(24, deadly=[7], batch_size=4, loader_threads=2))
    keys = list(rows.keys())
    rows.ask(keys)

    def read(key):
        try:
            return rows[key]["number"]
        except InputError as error:
            return str(error)

    with ThreadPoolExecutor(6) as readers:
        found = dict(zip(keys, readers.map(read, keys), strict=True))
    assert "died three times at this item" in found.pop("n00007")
    assert list(found.values()) == [n for n in range(24) if n != 7]
    assert actor.num_deaths >= 3


def test_a_worker_that_is_killed_from_outside_is_asked_again(play):
    rows, _, (actor,) = play(Squares(12, seconds=0.05))
    keys = list(rows.keys())
    rows.ask(keys)
    threading.Timer(0.2, actor.die).start()
    assert [rows[key]["number"] for key in keys] == list(range(12))
    assert actor.num_deaths == 1


def read_in_process(rows, key, answers):
    """Read a row as a loader process does, and one that is bad."""
    try:
        rows["n00002"]
    except InputError as error:
        answers.put(str(error))
    answers.put(float(rows[key]["square"]))
    answers.put(type(source_of({LABEL: rows})).__name__)


def test_a_loader_process_reads_through_the_one_that_it_loads_for(play):
    rows, source, _ = play(Squares(10, bad=[2]))
    source.serve()
    context = multiprocessing.get_context("forkserver")
    answers = context.Queue()
    process = context.Process(target=read_in_process, args=(rows, "n00005", answers))
    process.start()
    found = [answers.get(timeout=60) for _ in range(3)]
    process.join()
    assert "2 is bad" in found[0] and found[1:] == [25.0, "SocketSource"]


def test_a_stranger_is_given_nothing(play):
    rows, source, _ = play(Squares(10))
    source.serve()
    (given,) = {type(s): s for s in [pickle.loads(pickle.dumps(rows)).source]}.values()
    assert isinstance(given, SocketSource)
    with pytest.raises((AuthenticationError, EOFError, ConnectionError)):
        Client(given._address, "AF_UNIX", authkey=b"wrong").recv()
    assert given.read(LABEL, "n00004").num_bytes > 0, "others are served as before"
