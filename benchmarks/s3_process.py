"""``python -m benchmarks.s3_process FOLDER LATENCY_MS``: serves a folder's files as a bucket.

It prints its endpoint and serves until its standard input is closed. It uses the same cores as everything else; the
rows "from a folder" show how much.
"""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from moto.backends import get_backend
from werkzeug.wrappers import Request, Response

from twap_pipeline_tests.s3_server import S3Server, s3_server

BUCKET = "benchmark"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
_MOTO_ACCOUNT = "123456789012"


@contextmanager
def s3_process(folder: Path, latency_ms: int) -> Iterator[dict[str, str]]:
    """Serve a folder in a child process; yield the environment variables for its clients.

    Args:
        folder: Its files become the objects of `BUCKET`.
        latency_ms: Added to each GET response.
    """
    command = [sys.executable, "-m", "benchmarks.s3_process", str(folder), str(latency_ms)]
    environment = {**os.environ, **CREDENTIALS}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        endpoint = process.stdout.readline().strip() if process.stdout else ""
        try:
            yield {"AWS_ENDPOINT_URL": endpoint, **CREDENTIALS}
        finally:
            process.terminate()


def fill_bucket(server: S3Server, objects: Iterable[tuple[str, bytes]]) -> None:
    """Create `BUCKET` and put objects into the server's memory; thousands of PUT requests would take minutes."""
    server.client().create_bucket(Bucket=BUCKET)
    memory = get_backend("s3")[_MOTO_ACCOUNT]["aws"]
    for key, body in objects:
        memory.put_object(BUCKET, key, body)


def main() -> None:
    """Serve the folder."""
    folder, latency_seconds = Path(sys.argv[1]), float(sys.argv[2]) / 1_000
    logging.getLogger("werkzeug").setLevel(logging.WARNING)

    def delay(request: Request, response: Response) -> Response:
        if "list-type" not in request.args:
            time.sleep(latency_seconds)
        return response

    with s3_server() as server:
        files = (path for path in sorted(folder.rglob("*")) if path.is_file())
        fill_bucket(server, ((path.relative_to(folder).as_posix(), path.read_bytes()) for path in files))
        server.faults.append(delay)
        print(server.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
