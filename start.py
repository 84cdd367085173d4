#!/usr/bin/env python3
"""Set up .venv with the locked versions in a fresh clone, then run a command.

    python3 start.py demo     start a local PostgreSQL, load the sample data, print a summary
    python3 start.py dev      the same, then start Dagster's web UI
    python3 start.py test     run the tests; further arguments go to pytest
    python3 start.py lint     lint, format, types, import contracts, migrations
    python3 start.py vulnerabilities
                              check the locked versions for known vulnerabilities (public OSV database)

Requires Python 3.11 to 3.13. Uses the standard library only.
"""

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
LOCK = ROOT / "requirements.lock"
OLDEST, NEWEST = (3, 11), (3, 13)
COMMANDS = {
    "demo": [["twap-pipeline", "demo"]],
    "dev": [["twap-pipeline", "dev"]],
    "test": [["pytest"]],
    "lint": [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["lint-imports"],
        ["alembic", "upgrade", "head"],
        ["alembic", "check"],
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
    use_supported_python()
    digest = installation_digest()
    if not STAMP.is_file() or STAMP.read_text() != digest:
        install()
        STAMP.write_text(digest)
    steps = [[str(BIN / step[0]), *step[1:]] for step in COMMANDS[sys.argv[1]]]
    steps[-1] += sys.argv[2:]
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    for step in steps[:-1]:
        if code := subprocess.call(step, cwd=ROOT, env=environment):
            sys.exit(code)
    sys.stdout.flush()
    os.chdir(ROOT)
    os.execve(steps[-1][0], steps[-1], environment)


def use_supported_python() -> None:
    """Return on a supported Python; else restart with one, or exit if there is none."""
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        if python := shutil.which(f"python3.{minor}"):
            os.execv(python, [python, *sys.argv])
    raise SystemExit(f"Python 3.11, 3.12 or 3.13 is required; this is {sys.version.split()[0]}")


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
    main()
