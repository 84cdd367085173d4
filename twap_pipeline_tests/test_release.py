"""The release: tag against version, notes from the changelog, and the permissions of the workflow."""

import importlib.util
import re
import subprocess
from types import ModuleType

import pytest
import yaml

from twap_pipeline.paths import ROOT

WORKFLOW = ROOT / ".github" / "workflows" / "release.yml"
PYPROJECT = '[project]\nversion = "1.2.0"\n'
CHANGELOG = (
    "# Changelog\n\n## [Unreleased]\n\n- later\n\n## [1.2.0] - 2026-12-01\n\n### Added\n\n- a\n\n## [1.1.0]\n\n- b\n"
)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release_notes", ROOT / ".ci" / "release_notes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_release_notes_are_the_section_of_the_version(script: ModuleType) -> None:
    assert script.release_notes("v1.2.0", PYPROJECT, CHANGELOG) == "### Added\n\n- a\n"


@pytest.mark.parametrize(
    ("tag", "changelog", "message"),
    [
        ("v1.3.0", CHANGELOG, "the tag is v1.3.0, and pyproject.toml has the version 1.2.0: tag v1.2.0"),
        ("1.2.0", CHANGELOG, "tag v1.2.0"),
        ("v1.2.0", CHANGELOG.replace("[1.2.0]", "[1.2]"), "no section '## [1.2.0] - DATE'"),
        ("v1.2.0", "## [1.2.0]\n\n## [1.1.0]\n\n- b\n", "no section"),
    ],
)
def test_release_of_wrong_tag_or_without_notes_is_refused(
    script: ModuleType, tag: str, changelog: str, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        script.release_notes(tag, PYPROJECT, changelog)


def test_release_workflow_grants_permissions_per_job() -> None:
    """Jobs that run code of the checkout can neither publish nor sign, except for the image, after a review."""
    workflow = yaml.safe_load(WORKFLOW.read_text("utf-8"))
    write = {
        name: sorted(scope for scope, access in job["permissions"].items() if access == "write")
        for name, job in workflow["jobs"].items()
    }

    assert workflow["permissions"] == {}
    assert write == {
        "build": [],
        "gate": [],
        "publish": ["attestations", "contents", "id-token"],
        "image": ["attestations", "id-token"],
    }
    assert {name for name, job in workflow["jobs"].items() if job.get("environment") == "release"} == {
        "publish",
        "image",
    }
    assert "checkout" not in str(workflow["jobs"]["publish"])


@pytest.mark.parametrize("name", ["run", "test-wheel"])
def test_shell_scripts_of_ci_can_be_parsed(name: str) -> None:
    assert subprocess.run(["bash", "-n", ROOT / ".ci" / name], check=False).returncode == 0
