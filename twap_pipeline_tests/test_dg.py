"""Dagster's project command ``dg`` in the checkout, in this process, and its examples in the documentation."""

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from dagster_dg_cli.cli import cli

from twap_pipeline import definitions
from twap_pipeline.definitions import build_definitions, defs
from twap_pipeline.paths import ROOT
from twap_pipeline.settings import load_settings

REFERENCE = ROOT / "docs" / "reference" / "dagster.md"
EXAMPLES = re.findall(r"^dg (.+)$", REFERENCE.read_text("utf-8"), re.MULTILINE)


@pytest.fixture
def dagster_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A separate instance without telemetry."""
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.chdir(ROOT)


@pytest.mark.usefixtures("dagster_home")
def test_dg_check_defs_passes() -> None:
    result = CliRunner().invoke(cli, ["check", "defs"])

    assert result.exit_code == 0, result.output
    assert "All definitions loaded successfully." in result.output


@pytest.mark.usefixtures("dagster_home")
def test_dg_check_defs_with_missing_resource_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    resources = {name: resource for name, resource in (defs.resources or {}).items() if name != "database"}
    monkeypatch.setattr(definitions, "defs", build_definitions(load_settings(), resources))

    result = CliRunner().invoke(cli, ["check", "defs"])

    assert result.exit_code != 0
    assert "All definitions loaded successfully." not in result.output


@pytest.mark.usefixtures("dagster_home")
def test_dg_check_toml_passes() -> None:
    result = CliRunner().invoke(cli, ["check", "toml"])

    assert result.exit_code == 0, result.output


def test_documentation_has_examples_of_each_command() -> None:
    assert {" ".join(shlex.split(text)[:2]).split(" --")[0] for text in EXAMPLES} == {
        "check defs",
        "dev",
        "launch",
        "list defs",
    }


@pytest.mark.parametrize("text", EXAMPLES)
def test_documented_dg_command_can_be_parsed(text: str) -> None:
    command: click.Command = cli
    words = shlex.split(text)
    while isinstance(command, click.Group):
        name, *words = words
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found

    command.make_context(command.name, words).close()


def test_documented_launches_name_assets_and_jobs() -> None:
    repository = defs.get_repository_def()
    assets = {key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()}

    assert set(re.findall(r"--(?:assets|select) (\w+)", REFERENCE.read_text("utf-8"))) <= assets
    jobs = set(re.findall(r"(?:--job|backfill -j) (\w+)", REFERENCE.read_text("utf-8")))
    assert jobs
    assert jobs <= set(repository.job_names)
