"""The bare peers: a FastAPI pass-through to an upstream, and a FastAPI route that commits one row to SQLite for each thumb.

``UPSTREAM`` in the environment is the upstream's URL, ``DATABASE`` the file.
"""

import os
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal
from uuid import UUID, uuid4

import httpx
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

INSERT = "INSERT INTO thumbs VALUES (?, ?, ?, ?)"


class Thumb(BaseModel):
    """A thumb as our feedback API takes it."""

    type: Literal["thumb"]
    recruiter: str
    thumb: Literal["up", "down"]
    reply_id: UUID


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with httpx.AsyncClient(base_url=os.environ.get("UPSTREAM", ""), trust_env=False, timeout=60) as app.state.client:
        app.state.database, app.state.writing = _opened(os.environ.get("DATABASE", ":memory:")), threading.Lock()
        yield
        app.state.database.close()


app = FastAPI(lifespan=_lifespan)


@app.post("/v1/chat/completions")
async def chat(request: Request) -> Response:
    """The upstream's answer as it is."""
    sent = await app.state.client.post("/chat/completions", content=await request.body(), headers={"Content-Type": "application/json"})
    return Response(sent.content, sent.status_code, media_type="application/json")


@app.post("/v1/feedback")
def feedback(thumb: Thumb) -> dict[str, str]:
    """Durable once acknowledged; one transaction each."""
    event_id = str(uuid4())
    with app.state.writing:
        app.state.database.execute(INSERT, (event_id, str(thumb.reply_id), thumb.recruiter, thumb.thumb))  # commits by itself
    return {"status": "accepted", "event_id": event_id}


def _opened(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # as on our bus
    connection.execute("CREATE TABLE IF NOT EXISTS thumbs (id TEXT PRIMARY KEY, reply TEXT, recruiter TEXT, thumb TEXT)")
    return connection
