"""The launcher `start.py` in a small checkout: installation, choice of the Python, environment of lint and test.

The checkout's ``uv`` and tools are scripts that record their calls: nothing is installed.
"""

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

import start
from twap_pipeline.paths import ROOT
from twap_pipeline_tests.embedded.client_process import IS_ROOT

LOCKS = (start.RUNTIME, start.DEVELOPMENT)
UV = """#!/bin/sh
echo "$@" >> "{root}/uv.log"
[ "$1" = venv ] || exit 0
if [ -p "{root}/gate" ]; then read line < "{root}/gate"; fi
mkdir -p "{root}/.venv/bin"
for name in pytest twap-pipeline ruff mypy lint-imports; do cp "{root}/tool" "{root}/.venv/bin/$name"; done
"""
TOOL = """#!{python}
import os, pathlib, re, socket
root = pathlib.Path(__file__).resolve().parents[2]
root.joinpath("environment").write_text("\\n".join(os.environ))
for value in os.environ.values():
    for port in re.findall(r"127\\.0\\.0\\.1:(\\d+)", value):
        socket.create_connection(("127.0.0.1", int(port))).close()
"""


@dataclass(frozen=True)
class Checkout:
    """A directory with `start.py`, and a ``uv`` that creates ``.venv`` with programs that do nothing else."""

    root: Path

    def start(self, *arguments: str, **variables: str) -> "subprocess.Popen[str]":
        """Start the launcher in a session of its own."""
        return subprocess.Popen(
            [sys.executable, str(self.root / "start.py"), *arguments],
            env={"PATH": f"{self.root / 'bin'}:/usr/bin:/bin"} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, **variables: str) -> tuple[int, str]:
        """Run the launcher and return exit status and standard error."""
        process = self.start(*arguments, **variables)
        return process.wait(), process.communicate()[1]

    def uv_calls(self) -> list[str]:
        """Return the first word of each call of uv, or the name of the lock file that it installs."""
        calls = self.root.joinpath("uv.log").read_text().splitlines()
        return [Path(call.split()[-1]).name if call.endswith(".lock") else call.split()[0] for call in calls]


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root = tmp_path / "checkout"
    write_program(root / "start.py", (ROOT / "start.py").read_text())
    write_program(root / "bin" / "uv", UV.format(root=root))
    write_program(root / "tool", TOOL.format(python=sys.executable))
    for name in (*LOCKS, "pyproject.toml"):
        root.joinpath(name).touch()
    return Checkout(root)


def test_start_twice_installs_once(checkout: Checkout) -> None:
    assert [checkout.run("test")[0] for _ in range(2)] == [0, 0]

    assert checkout.uv_calls() == ["venv", "requirements-dev.lock", "pip"]


@pytest.mark.parametrize("command", ["demo", "dev", "serve"])
def test_start_installs_tools_only_for_test(checkout: Checkout, command: str) -> None:
    runtime = ["venv", "requirements.lock", "pip"]

    assert checkout.run(command)[0] == 0
    assert checkout.uv_calls() == runtime
    assert [checkout.run("test")[0], checkout.run(command)[0]] == [0, 0]
    assert checkout.uv_calls() == [*runtime, "requirements-dev.lock"]


@pytest.mark.parametrize("lock", LOCKS)
def test_start_with_changed_lock_installs_again(checkout: Checkout, lock: str) -> None:
    command = "demo" if lock == start.RUNTIME else "test"
    checkout.run(command)
    (checkout.root / lock).write_text("changed")

    assert checkout.run(command)[0] == 0
    assert checkout.uv_calls() == ["venv", lock, "pip"] * 2


def test_start_prints_each_step_with_its_seconds(checkout: Checkout) -> None:
    _, error = checkout.run("demo")

    first, *steps = error.splitlines()
    assert first == "setting up .venv (once)"
    assert len(steps) == 4
    assert all(re.match(r" *\d+\.\d s  (creating|installing|installed)", step) for step in steps)


def test_start_stores_compiled_modules(checkout: Checkout) -> None:
    checkout.run("demo", PYTHONDONTWRITEBYTECODE="1")

    assert "PYTHONDONTWRITEBYTECODE" not in checkout.root.joinpath("environment").read_text()


def test_lock_files_have_the_same_versions() -> None:
    runtime, development = (
        set(re.findall(r"^(\S+==.*?) \\$", (ROOT / name).read_text(), re.MULTILINE)) for name in LOCKS
    )

    assert runtime < development
    assert not {line for line in runtime if line.startswith(("pytest=", "mypy=", "ruff="))}


def test_start_twice_at_once_installs_once(checkout: Checkout) -> None:
    gate = checkout.root / "gate"
    os.mkfifo(gate)
    first = checkout.start("test")
    with gate.open("w") as writer:  # opens when the first process's uv reads
        second = checkout.start("test")
        with (checkout.root / ".twap" / "install.lock").open("w") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        writer.write("go\n")
    assert [process.communicate()[1].count("Traceback") for process in (first, second)] == [0, 0]

    assert [first.returncode, second.returncode] == [0, 0]
    assert checkout.uv_calls() == ["venv", "requirements-dev.lock", "pip"]


@pytest.mark.parametrize(("command", "connections"), [("lint", 0), ("test", 0), ("demo", 3)])
def test_start_hides_settings_from_lint_and_test(checkout: Checkout, command: str, connections: int) -> None:
    """The programs of the checkout connect to each address in their environment; the demo shows that they do."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        settings = {
            "DATABASE_URL": f"postgresql://user:canary@{address}/production",
            "AWS_ENDPOINT_URL_S3": f"http://{address}",
            "PGHOST": address,
            "TWAP_SOURCE_URL": "s3://bucket/raw/",
            "DAGSTER_HOME": "/srv/dagster",
            "ALEMBIC_CONFIG": "/srv/alembic.ini",
        }

        status, error = checkout.run(command, **settings)

        listener.setblocking(False)
        with suppress(BlockingIOError):
            for _ in range(10):
                listener.accept()[0].close()
                connections -= 1
    seen = set(settings) & set(checkout.root.joinpath("environment").read_text().split())
    assert (status, connections, seen) == (0, 0, set(settings) if command == "demo" else set()), error


def test_lint_opens_no_database() -> None:
    """Nothing of lint reads a database, so that alembic.ini cannot name one either."""
    assert {step[0] for step in start.COMMANDS["lint"]} == {"ruff", "mypy", "lint-imports"}


def test_start_interrupted_during_installation_is_one_line(checkout: Checkout) -> None:
    os.mkfifo(checkout.root / "gate")
    process = checkout.start("test")
    with (checkout.root / "gate").open("w"):
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate()

    assert process.returncode == 130
    assert error.splitlines()[-1] == "interrupted"
    assert "Traceback" not in error
    (checkout.root / "gate").unlink()
    assert checkout.run("test")[0] == 0, "the next start installs again"


def occupy_twap(root: Path) -> None:
    (root / ".twap").touch()


def occupy_lock(root: Path) -> None:
    (root / ".twap" / "install.lock").mkdir(parents=True)


def forbid_writing(root: Path) -> None:
    if IS_ROOT:
        pytest.skip("root can write everywhere")
    root.chmod(0o555)


@pytest.mark.parametrize("occupy", [occupy_twap, occupy_lock, forbid_writing])
def test_start_without_write_access_is_one_line(checkout: Checkout, occupy: Callable[[Path], None]) -> None:
    occupy(checkout.root)

    status, error = checkout.run("test")

    checkout.root.chmod(0o755)
    assert status == 1
    assert error.startswith("cannot set up .venv: ")
    assert f"make {checkout.root} writable" in error
    assert len(error.splitlines()) == 1


SHIMS = {
    "shim of an inactive version": "#!/bin/sh\necho 'pyenv: python3.99: command not found' >&2\nexit 127\n",
    "missing interpreter": "#!/no/such/python\n",
    "not a program": "\0\0",
    "another version": "#!/bin/sh\nexit 1\n",
}


@pytest.mark.parametrize("shim", SHIMS)
def test_start_executes_only_a_python_that_works(checkout: Checkout, shim: str) -> None:
    code = (ROOT / "start.py").read_text()
    write_program(checkout.root / "start.py", code.replace("= (3, 11), (3, 13)", "= (3, 99), (3, 99)"))
    write_program(checkout.root / "bin" / "python3.99", SHIMS[shim])
    write_program(checkout.root / "real" / "python3.99", '#!/bin/sh\n[ "$1" = -c ] || echo "$2" >&2\n')
    path = [str(checkout.root / name) for name in ("bin", "real")]

    assert checkout.run("test", PATH=":".join([*path, "/usr/bin"])) == (0, "test\n")
    status, error = checkout.run("test", PATH=f"{path[0]}:/usr/bin")
    assert (status, len(error.splitlines())) == (1, 1)
    assert "is required" in error


def test_is_supported_executes_the_program() -> None:
    assert start.is_supported(sys.executable)
    assert not start.is_supported("/bin/false")
