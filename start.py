#!/usr/bin/env python3
"""Set up .venv with the locked versions in a fresh clone, then run a command.

    python3 start.py demo     start a local PostgreSQL, load the sample data, print a summary
    python3 start.py dev      the same, then start Dagster's web UI
    python3 start.py serve    start the query API and its web UI
    python3 start.py test     run the tests; further arguments go to pytest
    python3 start.py lint     lint, format, types, import contracts
    python3 start.py vulnerabilities
                              check the locked versions for known vulnerabilities (public OSV database)

The first three install requirements.lock, the others requirements-dev.lock, which contains the same versions and the
development tools. Test and lint run without the caller's settings of database, source, Dagster and AWS: they never use
a configured one. Requires Python 3.11 to 3.13. Uses the standard library only.
"""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent
BIN = ROOT / ".venv" / "bin"
LOCK_FILE = ROOT / ".twap" / "install.lock"  # not in .venv, which is deleted before an installation
RUNTIME = "requirements.lock"
DEVELOPMENT = "requirements-dev.lock"
STARTED = time.monotonic()
OLDEST, NEWEST = (3, 11), (3, 13)
IS_SUPPORTED = f"import sys; sys.exit(not {OLDEST} <= sys.version_info[:2] <= {NEWEST})"
RUNTIME_COMMANDS = ("demo", "dev", "serve")
ISOLATED_COMMANDS = ("lint", "test")
SETTINGS = ("DATABASE_URL", "TWAP_", "DAGSTER_", "AWS_", "PG", "ALEMBIC_")
COMMANDS = {
    "demo": [["twap-pipeline", "demo"]],
    "dev": [["twap-pipeline", "dev"]],
    "serve": [["twap-pipeline", "serve"]],
    "test": [["pytest"]],
    "lint": [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["lint-imports"],
    ],
    "vulnerabilities": [["pip-audit", "--requirement", DEVELOPMENT, "--disable-pip", "--vulnerability-service", "osv"]],
}


def main() -> NoReturn:
    """Install if needed, then run the steps of the command; stop at the first step that fails."""
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    command = sys.argv[1]
    use_supported_python()
    ensure_installed(RUNTIME if command in RUNTIME_COMMANDS else DEVELOPMENT)
    steps = [[str(BIN / step[0]), *step[1:]] for step in COMMANDS[command]]
    steps[-1] += sys.argv[2:]
    environment = make_environment(command)
    if command == "vulnerabilities":
        sys.exit(audit(steps[0], environment))
    for step in steps[:-1]:
        if code := subprocess.call(step, cwd=ROOT, env=environment):
            sys.exit(code)
    sys.stdout.flush()
    os.chdir(ROOT)
    os.execve(steps[-1][0], steps[-1], environment)


def make_environment(command: str) -> dict[str, str]:
    """Return the environment of a command's steps: .venv comes first, lint and test get no variable of `SETTINGS`.

    Python compiles a module of the runtime packages at its first import and must store the result.
    """
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    if command not in ISOLATED_COMMANDS:
        return environment
    return {name: value for name, value in environment.items() if not name.startswith(SETTINGS)}


def audit(step: list[str], environment: dict[str, str]) -> int:
    """Run pip-audit and return its exit status; it ends with a traceback if it cannot query the database."""
    process = subprocess.run(step, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    if "Traceback" in process.stderr:
        cause = process.stderr.strip().splitlines()[-1]
        raise SystemExit(f"the locked versions were not checked: {cause}; check the network and the proxy settings")
    sys.stderr.write(process.stderr)
    return process.returncode


def use_supported_python() -> None:
    """Return on a supported Python; else restart with one, or exit if there is none.

    Candidates are executed first: a version manager's ``python3.12`` may exist without an active Python 3.12.
    """
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        for folder in os.get_exec_path():
            python = shutil.which(f"python3.{minor}", path=folder)
            if python and is_supported(python):
                os.execv(python, [python, *sys.argv])
    raise SystemExit(f"Python 3.11, 3.12 or 3.13 is required; this is {sys.version.split()[0]}")


def is_supported(python: str) -> bool:
    """Return whether a program can be executed and is a supported Python."""
    command = [python, "-c", IS_SUPPORTED]
    try:
        return subprocess.call(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def ensure_installed(lock: str) -> None:
    """Install the packages of a lock file unless .venv has them. Of several processes one installs; the others wait."""
    if is_installed(lock):
        return
    try:
        LOCK_FILE.parent.mkdir(exist_ok=True)
        with LOCK_FILE.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not is_installed(lock):
                install(lock)
                stamp(lock).write_text(installation_digest(lock))
    except OSError as error:
        raise SystemExit(f"cannot set up .venv: {error}; make {ROOT} writable, or copy it and run the copy") from None


def is_installed(lock: str) -> bool:
    """Return whether .venv contains the packages of a lock file; those of `DEVELOPMENT` include those of `RUNTIME`."""
    return any(
        stamp(name).is_file() and stamp(name).read_text() == installation_digest(name) for name in {lock, DEVELOPMENT}
    )


def stamp(lock: str) -> Path:
    """Return the file that contains the digest of a complete installation of a lock file."""
    return ROOT / ".venv" / f"installed-{lock}"


def installation_digest(lock: str) -> str:
    """Return a digest of the files and the interpreter that determine the installation of a lock file."""
    parts = [(ROOT / name).read_bytes() for name in (lock, "pyproject.toml")]
    return hashlib.sha256(b"\0".join([*parts, str(ROOT).encode(), sys.version.encode()])).hexdigest()


def install(lock: str) -> None:
    """Install the locked versions, verified by hash, and this checkout as an editable install.

    Creates .venv, unless it contains the current runtime packages: then the development tools are added to them. For
    the tests all modules are compiled: several test processes would each compile what they import at the same time.
    """
    print("setting up .venv (once)", file=sys.stderr)
    uv = shutil.which("uv") or install_uv()
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never", "VIRTUAL_ENV": str(ROOT / ".venv")}
    environment.pop("UV_SYSTEM_PYTHON", None)
    pip = [uv, "pip", "install", "--python", str(BIN / "python")]
    options = ["--compile-bytecode"] if lock == DEVELOPMENT else []
    packages = [*pip, *options, "--require-hashes", "-r", str(ROOT / lock)]
    steps = [(f"installing the packages of {lock}", packages)]
    if not is_installed(RUNTIME):
        create = [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(ROOT / ".venv")]
        editable = [*pip, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
        steps.insert(0, (f"creating .venv with Python {sys.version.split()[0]}", create))
        steps.append(("installing twap-pipeline", editable))
    for name, command in steps:
        print_step(name)
        if subprocess.call(command, cwd=ROOT, env=environment):
            raise SystemExit(f"installation failed; command: {' '.join(command)}")
    print_step("installed" if options else "installed; the first start also compiles each module that it imports")


def print_step(text: str) -> None:
    """Print what begins now and the seconds since this program started; progress goes to standard error."""
    print(f"{time.monotonic() - STARTED:5.1f} s  {text}", file=sys.stderr, flush=True)


def install_uv() -> str:
    """Install uv into .twap/uv and return its path.

    Works on externally managed Pythons, without pip or without ensurepip, but not without both.
    """
    folder = ROOT / ".twap" / "uv"
    uv = folder / "bin" / "uv"
    if uv.is_file():
        return str(uv)
    print_step("installing uv")
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]
    if importlib.util.find_spec("pip"):
        command = [sys.executable, *install, "--upgrade", "--target", str(folder), "uv"]
    elif subprocess.call([sys.executable, "-m", "venv", "--clear", str(folder)]) == 0:
        command = [str(folder / "bin" / "python"), *install, "uv"]
    else:
        raise SystemExit("this Python has neither pip nor ensurepip: install its pip or venv module, or uv")
    if subprocess.call(command):
        raise SystemExit("uv could not be installed: install pip or uv, or check the network and the proxy settings")
    return str(uv)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
