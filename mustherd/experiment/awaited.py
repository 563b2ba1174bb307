"""A run awaited: in a thread of its own, while what happens is told in the event loop."""

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from mustherd.errors import UserError
from mustherd.experiment.events import Event

T = TypeVar("T")


async def in_thread(
    call: Callable[..., T], what: object, on_event: Callable[[Event], object] | None, options: dict[str, Any]
) -> T:
    """`call` in a thread, its events told in this loop; when this is cancelled, it is stopped and waited for.

    A run that fails as it is stopped raises that instead of being cancelled: it may have left a node changed.
    """
    loop = asyncio.get_running_loop()
    stop = options.pop("stop", None) or threading.Event()

    async def told(event: Event) -> BaseException | None:
        """What left it: raised here, it would end the loop while the experiment goes on."""
        try:
            answer = on_event(event) if on_event is not None else None
            if inspect.isawaitable(answer):
                await answer
        except (KeyboardInterrupt, SystemExit) as error:
            return error
        return None

    def tell(event: Event) -> None:
        if (left := asyncio.run_coroutine_threadsafe(told(event), loop).result()) is not None:
            raise left

    running = asyncio.ensure_future(
        asyncio.to_thread(call, what, on_event=tell if on_event is not None else None, stop=stop, **options)
    )
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([running])
        # Seen, so that nobody complains that it never was.
        failed = None if running.cancelled() else running.exception()
        if isinstance(failed, UserError):
            raise failed from None
        raise
