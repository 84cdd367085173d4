"""``dagster dev`` for tests: started in its own session, used through GraphQL, and killed as a process group."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import URLError
from urllib.request import Request, urlopen

from twap_pipeline.paths import ROOT
from twap_pipeline_tests.factories import DAY, Bucket

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
    """A GraphQL client of the web server.

    Args:
        url: URL of the web server.
        session: Id of the session of all its processes.
    """

    def __init__(self, url: str, session: int) -> None:
        self.url = url
        self.session = session

    def query(self, query: str, **variables: object) -> dict[str, Any]:
        """Run a GraphQL query and return its data; fail if the response contains errors."""
        payload = json.dumps({"query": query, "variables": variables}).encode()
        request = Request(f"{self.url}/graphql", payload, {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as response:
            body = json.load(response)
        assert "errors" not in body, body
        data: dict[str, Any] = body["data"]
        return data

    def run_to_end(self, job: str, *, assets: Sequence[str] = (), partition: str | None = None) -> str:
        """Launch a run as the UI does and return its final status."""
        selector: dict[str, object] = {**LOCATION, "jobName": job}
        if assets:
            selector["assetSelection"] = [{"path": [name]} for name in assets]
        tags = [{"key": "dagster/partition", "value": partition}] if partition else []
        execution = {"selector": selector, "mode": "default", "runConfigData": {}, "executionMetadata": {"tags": tags}}
        run_id = self.query(_LAUNCH, execution=execution)["launchRun"]["run"]["runId"]

        def final_status() -> str:
            status: str = self.query(_RUN, id=run_id)["runOrError"]["status"]
            return status if status in {"SUCCESS", "FAILURE", "CANCELED"} else ""

        return until(final_status, RUN_SECONDS, f"the run of {job} ends")

    def start_sensor(self, name: str) -> None:
        """Start a sensor."""
        result = self.query(_START_SENSOR, sensor={**LOCATION, "sensorName": name})["startSensor"]
        assert result.get("name") == name, result

    def launch_backfill(self, assets: Sequence[str], partition_keys: Sequence[str]) -> str:
        """Launch a backfill of these partitions as the UI does and return its id."""
        backfill = {"assetSelection": [{"path": [name]} for name in assets], "partitionNames": list(partition_keys)}
        result = self.query(_BACKFILL, backfill=backfill)["launchPartitionBackfill"]
        assert "backfillId" in result, result
        return str(result["backfillId"])

    def backfill_final_status(self, backfill_id: str) -> str:
        """Return the final status of a backfill, or an empty string while it is in progress."""
        status = str(self.query(_BACKFILL_STATUS, id=backfill_id)["partitionBackfillOrError"]["status"])
        return status if status.startswith(("COMPLETED", "FAILED")) else ""

    def locations(self) -> list[str]:
        """Return the names of the loaded code locations."""
        result = self.query(
            "{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }"
        )
        return [node["location"]["name"] for node in result["repositoriesOrError"].get("nodes", [])]


def checkout(folder: Path) -> Path:
    """Create a folder with the files of a checkout that Dagster reads; its state is separate."""
    folder.mkdir()
    for name in ("workspace.yaml", "dagster.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return folder


@contextmanager
def process_group(
    folder: Path, name: str, command: Sequence[str], environment: Mapping[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program of the virtual environment in a session of its own; kill all its processes at the end.

    Args:
        folder: Working directory; contains the log of the process.
        name: Name of the log.
        command: The program and its arguments.
        environment: Variables in addition to those of this process.
    """
    program = Path(sys.executable).with_name(command[0])
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [str(program) if program.exists() else command[0], *command[1:]],
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def dagster_dev(folder: Path, environment: Mapping[str, str]) -> Iterator[DagsterWeb]:
    """Run plain ``dagster dev`` in a folder; yield when it is ready, and kill its processes at the end."""
    (port,) = free_ports(1)
    command = ["dagster", "dev", "--port", str(port)]
    with process_group(folder, "dagster-dev", command, environment) as process:
        web = DagsterWeb(f"http://127.0.0.1:{port}", process.pid)
        until(lambda: process.poll() is not None or is_ready(web), READY_SECONDS, "dagster dev is ready")
        assert process.poll() is None, (folder / "dagster-dev.log").read_text()
        yield web


@contextmanager
def dagster_dev_on_bucket(bucket: Bucket, folder: Path) -> Iterator[DagsterWeb]:
    """Run ``dagster dev`` with a new checkout in the folder, the bucket as the source, and frequent sensor ticks."""
    environment = {
        "TWAP_SOURCE_URL": bucket.directory.as_uri() + "/",
        "TWAP_START_DATE": str(DAY - timedelta(days=1)),
        "TWAP_SENSOR_INTERVAL_SECONDS": "2",
    }
    with dagster_dev(checkout(folder), environment) as web:
        yield web


def object_key(name: str, days: int = 0) -> str:
    """Return the key of an object so many days after `DAY`."""
    return f"hourly/{DAY + timedelta(days=days):%Y/%m/%d}/12/{name}.parquet"


def until(condition: Callable[[], _T], seconds: float, description: str) -> _T:
    """Poll the condition and return its first true value; fail with the description after the timeout."""
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"{description}: not within {seconds:g} seconds"
        time.sleep(0.05)


def is_ready(web: DagsterWeb) -> bool:
    """Return whether the web server responds and has loaded a code location."""
    try:
        return bool(web.locations())
    except (URLError, ConnectionError):
        return False


def free_ports(count: int) -> list[int]:
    """Return free ports of the loopback interface, all different."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(listener.getsockname()[1]) for listener in listeners]
