"""Messages to a browser window may come from any thread."""

import asyncio
import threading
import time

import pytest
from viser import _messages
from viser.infra import _infra

from eagleray.view.guarded_server import SteadyBuffer


@pytest.fixture
def loop():
    """A running loop that refuses what asyncio forbids to other threads."""
    loop = asyncio.new_event_loop()
    loop.set_debug(True)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_messages_of_another_thread_arrive(loop):
    assert _infra.AsyncMessageBuffer is SteadyBuffer
    buffer = _infra.AsyncMessageBuffer(loop, persistent_messages=False)
    received, waiting = [], threading.Event()

    async def receive():
        windows = buffer.window_generator(0)
        loop.call_later(0.05, waiting.set)  # by then it waits for the first message
        async for window in windows:
            received.extend(message.label for message in window)
            if len(received) == 2:
                return

    done = asyncio.run_coroutine_threadsafe(receive(), loop)
    assert waiting.wait(10)
    buffer.push(_messages.SetGuiPanelLabelMessage("first"))
    while not received:
        assert not done.done()
        time.sleep(0.01)
    buffer.push(_messages.SetGuiPanelLabelMessage("second"))
    done.result(timeout=10)
    assert received == ["first", "second"]
