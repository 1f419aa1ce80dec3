"""Ends the streams and channels of a caller who may not call any more, or may do something else than when they were opened."""

import asyncio
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

INTERVAL = 0.5  # seconds between two looks


class Watch:
    """Runs one request. ``may_go_on`` is asked before each message of a stream or channel, and twice a second in between."""

    def __init__(self, may_go_on: Callable[[], bool], send: Send) -> None:
        self._may_go_on, self._send = may_go_on, send
        self._limit = asyncio.timeout(None)
        self._next: asyncio.TimerHandle | None = None
        self._ending = False

    async def run(self, app: ASGIApp, scope: Scope, receive: Receive) -> None:
        try:
            async with self._limit:
                await app(scope, receive, self._watched)
        except TimeoutError:
            if not self._ending:
                raise
            closed = {"type": "websocket.close", "code": 1008}
            await self._send(closed if scope["type"] == "websocket" else {"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            if self._next is not None:
                self._next.cancel()

    async def _watched(self, message: Message) -> None:
        if self._next is not None and not self._still():
            return
        await self._send(message)
        if self._next is None and (message["type"] == "websocket.accept" or message.get("more_body")):
            self._look()

    def _look(self) -> None:
        if self._still():
            self._next = asyncio.get_running_loop().call_later(INTERVAL, self._look)

    def _still(self) -> bool:
        if not self._ending and not self._may_go_on():
            self._ending = True
            self._limit.reschedule(asyncio.get_running_loop().time())
        return not self._ending
