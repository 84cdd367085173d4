"""What the API's tests share: orders that went through the pipeline, a client in this process, and a real server."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import URL, Engine

from twap_pipeline.api import create_app
from twap_pipeline.ingest.load import ingest_objects
from twap_pipeline.settings import Settings
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.orders.refresh import refresh_orders
from twap_pipeline_tests.conftest import create_database
from twap_pipeline_tests.factories import Bucket


@dataclass(frozen=True)
class Tables:
    """The tables behind an API, filled as the pipeline fills them."""

    engine: Engine
    bucket: Bucket

    def take(self, key: str, rows: Sequence[dict[str, object]], *, hours: float = 0, refresh: bool = True) -> None:
        """Load an object of these rows, and bring the orders up to date."""
        self.bucket.put(key, rows, hours=hours)
        store = LocalDirectory(self.bucket.directory)
        refs = [ref for ref in store.list_objects() if ref.key == key]
        ingest_objects(store, self.engine, refs, self.bucket.day)
        if refresh:
            with self.engine.begin() as connection:
                refresh_orders(connection, self.bucket.day)


@pytest.fixture
def tables(engine: Engine, bucket: Bucket) -> Tables:
    """Empty tables at head."""
    return Tables(engine, bucket)


class _Server(uvicorn.Server):
    """A server that says when it listens."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(uvicorn.Config(app, port=0, log_config=None, lifespan="on", timeout_graceful_shutdown=1))
        self.listening = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@contextmanager
def serving(app: FastAPI) -> Iterator[httpx2.Client]:
    """Serve an app over real sockets, from a thread; yields a client of it."""
    server = _Server(app)
    thread = threading.Thread(target=asyncio.run, args=(server.serve(),), name="uvicorn")
    thread.start()
    try:
        if not server.listening.wait(30):
            raise TimeoutError("the server did not come up")
        (address,) = (one.getsockname() for served in server.servers for one in served.sockets)
        with httpx2.Client(base_url=f"http://127.0.0.1:{address[1]}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def client(database: URL, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx2.Client]:
    """A client of an app on `database`."""
    monkeypatch.setenv("TWAP_API_RATE_LIMIT_PER_MINUTE", "0")
    with serving(create_app()) as client:
        yield client


@pytest.fixture(scope="session")
def idle_client(server_url: str, template: str) -> Iterator[httpx2.Client]:
    """A client of one app for all tests that change nothing, on empty tables."""
    url = create_database(server_url, template).render_as_string(hide_password=False)
    settings = Settings.model_validate({"DATABASE_URL": url, "TWAP_API_RATE_LIMIT_PER_MINUTE": 0})
    with serving(create_app(settings)) as client:
        yield client


def eventually(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: It did not, in that time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
