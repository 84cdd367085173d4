#!/usr/bin/env python3
"""Set up .venv with the locked versions in a fresh clone, then run a command.

    python3 start.py demo     start a local PostgreSQL, load the sample data, print a summary
    python3 start.py dev      the same, then start Dagster's web UI
    python3 start.py test     run the tests; further arguments go to pytest
    python3 start.py lint     lint, format, types, import contracts
    python3 start.py vulnerabilities
                              check the locked versions for known vulnerabilities (public OSV database)

Test and lint run without the caller's settings of database, source, Dagster and AWS: they never use a configured one.
Requires Python 3.11 to 3.13. Uses the standard library only.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent
BIN = ROOT / ".venv" / "bin"
STAMP = ROOT / ".venv" / "installed"
LOCK_FILE = ROOT / ".twap" / "install.lock"  # not in .venv, which is deleted before an installation
LOCK = ROOT / "requirements.lock"
OLDEST, NEWEST = (3, 11), (3, 13)
IS_SUPPORTED = f"import sys; sys.exit(not {OLDEST} <= sys.version_info[:2] <= {NEWEST})"
ISOLATED_COMMANDS = ("lint", "test")
SETTINGS = ("DATABASE_URL", "TWAP_", "DAGSTER_", "AWS_", "PG", "ALEMBIC_")
COMMANDS = {
    "demo": [["twap-pipeline", "demo"]],
    "dev": [["twap-pipeline", "dev"]],
    "test": [["pytest"]],
    "lint": [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["lint-imports"],
    ],
    "vulnerabilities": [
        ["pip-audit", "--requirement", "requirements.lock", "--disable-pip", "--vulnerability-service", "osv"]
    ],
}


def main() -> NoReturn:
    """Install if needed, then run the steps of the command; stop at the first step that fails."""
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    command = sys.argv[1]
    use_supported_python()
    ensure_installed()
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
    """Return the environment of a command's steps: .venv comes first, lint and test get no variable of `SETTINGS`."""
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
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


def ensure_installed() -> None:
    """Install unless .venv is complete. Of several processes one installs, and the others wait for it."""
    digest = installation_digest()
    if is_installed(digest):
        return
    try:
        LOCK_FILE.parent.mkdir(exist_ok=True)
        with LOCK_FILE.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not is_installed(digest):
                install()
                STAMP.write_text(digest)
    except OSError as error:
        raise SystemExit(f"cannot set up .venv: {error}; make {ROOT} writable, or copy it and run the copy") from None


def is_installed(digest: str) -> bool:
    """Return whether .venv is complete and has this digest."""
    return STAMP.is_file() and STAMP.read_text() == digest


def installation_digest() -> str:
    """Return a digest of the files and the interpreter that determine the installation."""
    parts = [LOCK.read_bytes(), (ROOT / "pyproject.toml").read_bytes(), str(ROOT).encode(), sys.version.encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def install() -> None:
    """Create .venv with the locked versions, verified by hash, and this checkout as an editable install."""
    print("setting up .venv with the locked versions (once; 1 to 2 minutes without a cache)", file=sys.stderr)
    uv = shutil.which("uv") or install_uv()
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never", "VIRTUAL_ENV": str(ROOT / ".venv")}
    environment.pop("UV_SYSTEM_PYTHON", None)
    pip = [uv, "pip", "install", "--quiet", "--python", str(BIN / "python")]
    for step in (
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(ROOT / ".venv")],
        [*pip, "--compile-bytecode", "--require-hashes", "-r", str(LOCK)],
        [*pip, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)],
    ):
        if subprocess.call(step, cwd=ROOT, env=environment):
            raise SystemExit(f"installation failed; command: {' '.join(step)}")


def install_uv() -> str:
    """Install uv into its own virtual environment and return its path.

    Works on externally managed Pythons and without ensurepip.
    """
    folder = ROOT / ".twap" / "uv"
    uv, python = folder / "bin" / "uv", folder / "bin" / "python"
    if uv.is_file():
        return str(uv)
    make = [sys.executable, "-m", "venv", "--clear"]
    if subprocess.call([*make, str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0:
        pip = [str(python), "-m", "pip"]
    elif subprocess.call([*make, "--without-pip", str(folder)]) == 0:
        pip = [sys.executable, "-m", "pip", "--python", str(python)]
    else:
        raise SystemExit("this Python cannot create virtual environments: install its venv module, or uv")
    if subprocess.call([*pip, "install", "--quiet", "--disable-pip-version-check", "uv"]):
        raise SystemExit("uv could not be installed: install pip or uv, or check the network and the proxy settings")
    return str(uv)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
