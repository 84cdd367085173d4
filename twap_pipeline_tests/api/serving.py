"""Helpers of the API's tests: tables filled by the pipeline, an app on a real socket, and requests to it."""

import asyncio
import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import uvicorn
from fastapi import FastAPI
from sqlalchemy import URL, Engine

from twap_pipeline.api.http_protocol import RequestTimeoutProtocol
from twap_pipeline.ingest.load import ingest_objects
from twap_pipeline.settings import Settings
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.orders.refresh import refresh_orders
from twap_pipeline_tests.factories import Bucket, event

OTHER = "0x" + "cd" * 20
"""A wallet besides `factories.WALLET`."""


@dataclass(frozen=True)
class Tables:
    """The tables behind an API, filled by the pipeline."""

    engine: Engine
    bucket: Bucket

    def load(self, key: str, rows: Sequence[dict[str, object]], *, hours: float = 0, refresh: bool = True) -> None:
        """Load an object with these rows, and refresh ``twap_orders``."""
        self.bucket.put(key, rows, hours=hours)
        store = LocalDirectory(self.bucket.directory)
        refs = [ref for ref in store.list_objects() if ref.key == key]
        ingest_objects(store, self.engine, refs, self.bucket.day)
        if refresh:
            with self.engine.begin() as connection:
                refresh_orders(connection, self.bucket.day)


def make_settings(database: URL, **overrides: object) -> Settings:
    """Return settings for a database, without a rate limit."""
    url = database.render_as_string(hide_password=False)
    return Settings.model_validate({"DATABASE_URL": url, "TWAP_API_RATE_LIMIT_PER_MINUTE": 0, **overrides})


class _Server(uvicorn.Server):
    """A server with an event that is set when it listens."""

    def __init__(self, app: FastAPI, root_path: str) -> None:
        options: dict[str, Any] = {"log_config": None, "lifespan": "on", "timeout_graceful_shutdown": 1}
        super().__init__(uvicorn.Config(app, port=0, root_path=root_path, http=RequestTimeoutProtocol, **options))
        self.listening = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@contextmanager
def serving(app: FastAPI, root_path: str = "") -> Iterator[httpx2.Client]:
    """Serve an app on a real socket, in a thread; yield a client of it."""
    server = _Server(app, root_path)
    thread = threading.Thread(target=asyncio.run, args=(server.serve(),), name="uvicorn")
    thread.start()
    try:
        if not server.listening.wait(30):
            raise TimeoutError("the server did not start")
        (address,) = (listener.getsockname() for served in server.servers for listener in served.sockets)
        with httpx2.Client(base_url=f"http://127.0.0.1:{address[1]}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(30)


def eventually(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until a condition is true.

    Raises:
        AssertionError: It is still false after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition is still false after {seconds} s"
        time.sleep(0.01)


def encode_cursor(content: object) -> str:
    """Return a cursor with any content; bytes are used as they are."""
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def get_json(client: httpx2.Client, path: str, **parameters: Any) -> Any:
    """Return the body of a successful GET request below ``/api/v2``."""
    response = client.get(f"/api/v2{path}", params=parameters)
    assert response.status_code == 200, response.text
    return response.json()


def listed_ids(client: httpx2.Client, **parameters: Any) -> list[str]:
    """Return the IDs of a page of ``/orders``."""
    return [item["twap_id"] for item in get_json(client, "/orders", **parameters)["orders"]]


def list_all(
    client: httpx2.Client, path: str, between_pages: Callable[[], None] = lambda: None, **parameters: Any
) -> list[dict[str, Any]]:
    """Return the items of all pages of ``/orders`` or ``/events``. ``between_pages`` runs before each further page."""
    name = path.removeprefix("/")
    page = get_json(client, path, **parameters)
    items = list(page[name])
    while page.get("has_more", page["next_cursor"]):
        between_pages()
        page = get_json(client, path, **{**parameters, "cursor": page["next_cursor"]})
        items += page[name]
    return items


def ended_order(twap_id: int, minute: int = 30, **fields: Any) -> list[dict[str, object]]:
    """Return the events of an order that is activated at noon and finishes ``minute`` minutes later."""
    return [event(twap_id, **fields), event(twap_id, status="finished", minute=minute, executed="10", **fields)]
