"""A real ``dagster dev`` for tests: started in a session of its own, asked by GraphQL, ended as a group."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import URLError
from urllib.request import Request, urlopen

from twap_pipeline.paths import ROOT

_T = TypeVar("_T")
READY_SECONDS = 90.0
RUN_SECONDS = 120.0
LOCATION = {"repositoryLocationName": "twap_pipeline", "repositoryName": "__repository__"}
_LAUNCH = """
mutation ($execution: ExecutionParams!) {
  launchRun(executionParams: $execution) { ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}"""
_START_SENSOR = """
mutation ($sensor: SensorSelector!) {
  startSensor(sensorSelector: $sensor) { ... on Sensor { name } ... on PythonError { message } }
}"""
_BACKFILL = """
mutation ($backfill: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $backfill) {
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}"""
_BACKFILL_STATUS = """
query ($id: String!) {
  partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } ... on PythonError { message } }
}"""
_RUN = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


class DagsterWeb:
    """The web server's GraphQL.

    Args:
        url: Where it listens.
        session: The session (of processes) that all of its processes are in.
    """

    def __init__(self, url: str, session: int) -> None:
        self.url = url
        self.session = session

    def ask(self, query: str, **variables: object) -> dict[str, Any]:
        """Return the data of a GraphQL answer."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as answer:
            said = json.load(answer)
        assert "errors" not in said, said
        data: dict[str, Any] = said["data"]
        return data

    def run_to_end(self, job: str, *, assets: Sequence[str] = (), partition: str | None = None) -> str:
        """Launch a run as the UI's button does, and return how it ended."""
        selector: dict[str, object] = {**LOCATION, "jobName": job}
        if assets:
            selector["assetSelection"] = [{"path": [name]} for name in assets]
        tags = [{"key": "dagster/partition", "value": partition}] if partition else []
        execution = {"selector": selector, "mode": "default", "runConfigData": {}, "executionMetadata": {"tags": tags}}
        run_id = self.ask(_LAUNCH, execution=execution)["launchRun"]["run"]["runId"]

        def ended() -> str:
            status: str = self.ask(_RUN, id=run_id)["runOrError"]["status"]
            return status if status in {"SUCCESS", "FAILURE", "CANCELED"} else ""

        return until(ended, RUN_SECONDS, f"the run of {job} ends")

    def start_sensor(self, name: str) -> None:
        """Switch a sensor on."""
        said = self.ask(_START_SENSOR, sensor={**LOCATION, "sensorName": name})["startSensor"]
        assert said.get("name") == name, said

    def launch_backfill(self, assets: Sequence[str], days: Sequence[str]) -> str:
        """Launch a backfill of these days as the dialog does, and return its id."""
        backfill = {"assetSelection": [{"path": [name]} for name in assets], "partitionNames": list(days)}
        said = self.ask(_BACKFILL, backfill=backfill)["launchPartitionBackfill"]
        assert "backfillId" in said, said
        return str(said["backfillId"])

    def backfill_end(self, identity: str) -> str:
        """Return how a backfill ended, or nothing while it goes on."""
        status = str(self.ask(_BACKFILL_STATUS, id=identity)["partitionBackfillOrError"]["status"])
        return status if status.startswith(("COMPLETED", "FAILED")) else ""

    def locations(self) -> list[str]:
        """Return the names of the loaded code locations' repositories."""
        said = self.ask("{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }")
        return [node["location"]["name"] for node in said["repositoriesOrError"].get("nodes", [])]


def checkout(folder: Path) -> Path:
    """Make a folder that is to Dagster what a checkout is, with state of its own."""
    folder.mkdir()
    for name in ("workspace.yaml", "dagster.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return folder


@contextmanager
def dagster_dev(folder: Path, environment: Mapping[str, str]) -> Iterator[DagsterWeb]:
    """Run plain ``dagster dev`` in a folder until its code location is loaded, and end all of it afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "dagster-dev.log"
    command = [str(Path(sys.executable).with_name("dagster")), "dev", "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **environment}, stdout=out, stderr=out, start_new_session=True
        )
    web = DagsterWeb(f"http://127.0.0.1:{port}", process.pid)
    try:
        until(lambda: process.poll() is not None or _answers(web), READY_SECONDS, "dagster dev is ready")
        assert process.poll() is None, log.read_text()
        yield web
    finally:
        _end(process)


def until(condition: Callable[[], _T], seconds: float, what: str) -> _T:
    """Return the condition's first true value; fail when it stays false for so long."""
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} seconds"
        time.sleep(0.2)


def _answers(web: DagsterWeb) -> bool:
    try:
        return bool(web.locations())
    except (URLError, ConnectionError):
        return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(20)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
