"""Dagster with Celery workers, as docs/how-to/scale-out.md sets it up: each process has its own folder and session.

The files are those of ``deploy/celery``. Only the limits are changed: the number of workers, and shorter intervals.
"""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from sqlalchemy import URL

from twap_pipeline.paths import ROOT
from twap_pipeline_tests.dagster_client import DagsterWeb, free_ports, is_ready, process_group, until

DEPLOY = ROOT / "deploy" / "celery"
MISSING = "" if shutil.which("redis-server") else "redis-server is not installed"
"""Why the tests are skipped; empty if it is installed."""

_READY_SECONDS = 180.0
_RUNS = """{
  runsOrError(limit: 10000) { ... on Runs { results { runId status jobName startTime endTime tags { key value } } } }
}"""


@dataclass(frozen=True)
class Run:
    """A run as the web server returns it."""

    run_id: str
    status: str
    job: str
    tags: Mapping[str, str]


@dataclass
class Worker:
    """A Celery worker with one slot: its main process is the leader of a process group."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def kill_machine(self) -> None:
        """Kill all processes of the worker at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def kill_pool_process(self) -> None:
        """Kill the process that executes runs; the main process starts another."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)

    def stop(self, seconds: float) -> int:
        """Send SIGTERM to the main process, wait for its end and return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def runs_ended(self) -> int:
        """Return the number of runs that this worker executed to their end."""
        return self.log.read_text("utf-8").count("] succeeded in ")


@dataclass
class Cluster:
    """The running processes."""

    web: DagsterWeb
    workers: list[Worker] = field(default_factory=list)

    def runs(self) -> list[Run]:
        """Return all runs, the newest first."""
        return [
            Run(
                result["runId"],
                result["status"],
                result["jobName"],
                {tag["key"]: tag["value"] for tag in result["tags"]},
            )
            for result in self.web.query(_RUNS)["runsOrError"]["results"]
        ]


@contextmanager
def celery_cluster(
    folder: Path, database: URL, storage: URL, environment: Mapping[str, str], workers: int
) -> Iterator[Cluster]:
    """Start Redis, a code server, the daemon, the web server and workers; yield when the web server is ready.

    Args:
        folder: An empty folder for all state and logs.
        database: The database of the pipeline.
        storage: A database without tables, for Dagster.
        environment: Settings of all processes, for example of the source.
        workers: Number of workers, and of runs at once.
    """
    redis, code, web = free_ports(3)
    variables = {
        "CELERY_BROKER_URL": f"redis://127.0.0.1:{redis}/0",
        "CELERY_RESULT_BACKEND": f"redis://127.0.0.1:{redis}/1",
        "DAGSTER_POSTGRES_URL": storage.set(drivername="postgresql+psycopg2").render_as_string(hide_password=False),
        "DATABASE_URL": database.set(drivername="postgresql").render_as_string(hide_password=False),
        **environment,
    }
    workspace = folder / "workspace.yaml"
    workspace.write_text((DEPLOY / "workspace.yaml").read_text("utf-8").replace("4000", str(code)), "utf-8")
    server = "dagster api grpc -m twap_pipeline.definitions --location-name twap_pipeline -h 127.0.0.1 -p"
    commands = {
        "code": [*server.split(), str(code)],
        "daemon": ["dagster-daemon", "run", "-w", str(workspace)],
        "web": ["dagster-webserver", "-w", str(workspace), "-h", "127.0.0.1", "-p", str(web)],
    }
    with ExitStack() as stack:
        options = ["--port", str(redis), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        stack.enter_context(process_group(folder, "redis", ["redis-server", *options], variables))
        until(lambda: _accepts(redis), _READY_SECONDS, "Redis is ready")
        processes = {}
        for name, command in commands.items():
            home = _home(folder / name, workers)
            variables_of_home = {**variables, "DAGSTER_HOME": str(home), "TWAP_HOME": str(home)}
            processes[name] = stack.enter_context(process_group(home, name, command, variables_of_home))
        cluster = Cluster(DagsterWeb(f"http://127.0.0.1:{web}", processes["web"].pid))
        for number in range(workers):
            home = _home(folder / f"worker{number}", workers)
            path = os.pathsep.join([str(DEPLOY), os.environ.get("PYTHONPATH", "")])
            command = [
                "python",
                "-m",
                "celery",
                "-A",
                "dagster_celery.app",
                "worker",
                "-n",
                f"w{number}@%h",
                "-l",
                "info",
            ]
            variables_of_home = {**variables, "DAGSTER_HOME": str(home), "TWAP_HOME": str(home), "PYTHONPATH": path}
            process = stack.enter_context(process_group(home, "worker", command, variables_of_home))
            cluster.workers.append(Worker(f"w{number}", process, home / "worker.log"))
        until(lambda: is_ready(cluster.web), _READY_SECONDS, "the web server is ready")
        for worker in cluster.workers:
            until(lambda: " ready." in worker.log.read_text("utf-8"), _READY_SECONDS, f"{worker.name} is ready")  # noqa: B023 - called at once
        yield cluster


def _home(home: Path, workers: int) -> Path:
    """Create a folder with the dagster.yaml of the deployment for this number of workers."""
    home.mkdir()
    config = yaml.safe_load((DEPLOY / "dagster.yaml").read_text("utf-8"))
    config["concurrency"]["runs"]["max_concurrent_runs"] = workers
    config["concurrency"]["pools"]["default_limit"] = workers
    config["run_monitoring"]["poll_interval_seconds"] = 2
    (home / "dagster.yaml").write_text(yaml.safe_dump(config), "utf-8")
    return home


def _accepts(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
