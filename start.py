#!/usr/bin/env python3
"""One command from a fresh clone: makes .venv with the locked versions, then runs the demo, the UI or the tests.

    python3 start.py demo     everything up on a local PostgreSQL, filled with sample orders
    python3 start.py dev      the same, then Dagster's UI
    python3 start.py test     the tests; what follows goes to pytest
    python3 start.py lint     the rest of the gate: lint, format, types, import contracts, migrations
    python3 start.py vulnerabilities
                              asks a public database whether a locked version has a known vulnerability

Needs Python 3.11 to 3.13 and nothing else; standard library only.
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
    """Install if needed, then run the command's steps until one fails."""
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    use_supported_python()
    wanted = fingerprint()
    if not STAMP.is_file() or STAMP.read_text() != wanted:
        install()
        STAMP.write_text(wanted)
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
    """Go on with a Python that the project supports, or say which one is missing."""
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        if found := shutil.which(f"python3.{minor}"):
            os.execv(found, [found, *sys.argv])
    raise SystemExit(f"Python 3.11, 3.12 or 3.13 is needed; this is {sys.version.split()[0]}")


def fingerprint() -> str:
    """Return a digest of everything that the installation depends on."""
    parts = [LOCK.read_bytes(), (ROOT / "pyproject.toml").read_bytes(), str(ROOT).encode(), sys.version.encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def install() -> None:
    """Make .venv anew: the locked versions, each checked by its hash, and this checkout in editable form."""
    print("setting up .venv with the locked versions (once; a minute or two on a cold cache) …", file=sys.stderr)
    uv = shutil.which("uv") or bring_uv()
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never", "VIRTUAL_ENV": str(ROOT / ".venv")}
    environment.pop("UV_SYSTEM_PYTHON", None)
    pip = [uv, "pip", "install", "--quiet", "--python", str(BIN / "python")]
    for step in (
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(ROOT / ".venv")],
        [*pip, "--compile-bytecode", "--require-hashes", "-r", str(LOCK)],
        [*pip, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)],
    ):
        if subprocess.call(step, cwd=ROOT, env=environment):
            raise SystemExit(f"the installation failed in: {' '.join(step)}")


def bring_uv() -> str:
    """Install uv into an environment of its own; works on externally managed Pythons and without ensurepip."""
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
        raise SystemExit("this Python cannot make virtual environments: install its venv module, or uv")
    if subprocess.call([*pip, "install", "--quiet", "--disable-pip-version-check", "uv"]):
        raise SystemExit("uv could not be installed: install pip or uv, or check the network and its proxy")
    return str(uv)


if __name__ == "__main__":
    main()
