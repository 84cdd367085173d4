"""``python -m benchmarks.s3_process FOLDER MILLISECONDS``: a folder's files as a bucket, each GET so much slower.

It prints its address and serves until its standard input ends. Its CPU is taken from the same cores as everything
else: the same objects from a folder show how much that is.
"""

import logging
import sys
import time
from pathlib import Path

from moto.backends import get_backend
from werkzeug.wrappers import Request, Response

from benchmarks.sensor_tick import MOTO_ACCOUNT
from twap_pipeline_tests.s3_server import s3_server


def main() -> None:
    """Serve."""
    folder, latency_seconds = Path(sys.argv[1]), float(sys.argv[2]) / 1_000
    logging.getLogger("werkzeug").setLevel(logging.WARNING)

    def delay(request: Request, response: Response) -> Response:
        if "list-type" not in request.args:
            time.sleep(latency_seconds)
        return response

    with s3_server() as server:
        server.client().create_bucket(Bucket="benchmark")
        memory = get_backend("s3")[MOTO_ACCOUNT]["aws"]
        for path in sorted(folder.iterdir()):
            memory.put_object("benchmark", path.name, path.read_bytes())
        server.faults.append(delay)
        print(server.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
