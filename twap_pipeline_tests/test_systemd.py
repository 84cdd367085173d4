"""The units of ``deploy/systemd``: systemd accepts them, and rates their sandbox."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from twap_pipeline.paths import ROOT

ANALYZE = shutil.which("systemd-analyze")
UNITS = ROOT / "deploy" / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
EXPOSURE_MAX = 2.0
"""systemd's rating: 0 is a full sandbox, 10 is none. What is left: network, and a user that owns files."""

pytestmark = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """The environment of systemd-analyze with the units, whose programs are one that exists."""
    shutil.copytree(UNITS, tmp_path / "units")
    for path in (tmp_path / "units").glob("*.service"):
        path.write_text(re.sub(r"/opt/twap-pipeline/bin/[\w-]+", "/bin/true", path.read_text("utf-8")), "utf-8")
    return {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path / 'units'}:", "SYSTEMD_LOG_LEVEL": "warning"}


def analyze(environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(ANALYZE), *arguments], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def test_units_are_accepted_by_systemd(installed: dict[str, str]) -> None:
    names = sorted(path.name for path in UNITS.iterdir() if path.is_file())

    done = analyze(
        installed, "verify", "--man=no", *(f"{installed['SYSTEMD_UNIT_PATH'][:-1]}/{name}" for name in names)
    )

    ours = [line for line in done.stderr.splitlines() if "twap-pipeline" in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.parametrize("service", SERVICES)
def test_sandbox_of_each_service_is_rated_well(installed: dict[str, str], service: str) -> None:
    path = f"{installed['SYSTEMD_UNIT_PATH'][:-1]}/{service}"

    done = analyze(installed, "security", "--offline=true", f"--threshold={EXPOSURE_MAX * 10:.0f}", "--no-pager", path)

    assert done.returncode == 0, done.stdout[-300:] + done.stderr
