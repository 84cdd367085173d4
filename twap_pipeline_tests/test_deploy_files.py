"""The files of `deploy/` for containers: image, Compose, secrets, against the settings, the commands and each other.

The tests read the files and parse the commands; they start no container.
"""

import re
import shlex
import stat
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from dagster._cli import cli as dagster_cli
from dagster._daemon.cli import cli as dagster_daemon_cli
from dagster_webserver.cli import dagster_webserver

from twap_pipeline.cli import COMMANDS, cli
from twap_pipeline.paths import ROOT
from twap_pipeline.settings import Settings, secret_names

DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ROLES = sorted(name for name, service in SERVICES.items() if service.get("user"))
PROGRAMS: dict[str, click.Command] = {
    "twap-pipeline": cli,
    "dagster": dagster_cli,
    "dagster-daemon": dagster_daemon_cli,
    "dagster-webserver": dagster_webserver,
}
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
SETTINGS = {str(field.alias) for field in Settings.model_fields.values()} | {f"{name}_FILE" for name in secret_names()}
OTHER_VARIABLES = {"AWS_REGION", "AWS_SHARED_CREDENTIALS_FILE", "DAGSTER_POSTGRES_URL_FILE"}


def example_variables() -> dict[str, str]:
    """Return the variables of `.env.example`."""
    lines = (DEPLOY / ".env.example").read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def interpolated_variables() -> set[str]:
    """Return the names that Compose replaces in `compose.yaml`."""
    return set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text("utf-8")))


def role_commands() -> Iterator[tuple[str, list[str]]]:
    """Yield service and words of each command of the pipeline's image, health checks included."""
    for name in ROLES:
        service = SERVICES[name]
        command, check = service["command"], service.get("healthcheck", {}).get("test", ["CMD"])[1:]
        commands = [shlex.split(line) for line in command[2].splitlines()] if command[0] == "sh" else [command]
        for words in (*commands, check[1:] if check[:1] == ["entrypoint"] else check):
            if words and words[0] != "python3":
                yield name, [str(word).replace("/opt/dagster", str(DEPLOY)) for word in words]


def parse(command: click.Command, words: list[str]) -> None:
    """Parse the words of a command with its own parser, and with those of its subcommands."""
    context = command.make_context(words[0], words[1:])
    if isinstance(command, click.Group):
        name, subcommand, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert name is not None
        assert subcommand is not None
        parse(subcommand, [name, *rest])


def test_image_version_is_that_of_the_package() -> None:
    texts = [(DEPLOY / name).read_text("utf-8") for name in ("Containerfile", "compose.yaml", ".env.example")]

    found = re.findall(r'(?:twap-pipeline:|image\.version=")([\d.]+)', " ".join(texts))

    assert set(found) == {VERSION}
    assert len(found) >= len(texts)


@pytest.mark.parametrize("words", [words for _, words in role_commands()], ids=lambda words: " ".join(words[:3]))
def test_compose_command_can_be_parsed(words: list[str]) -> None:
    parse(PROGRAMS[words[0]], words)


def test_compose_grants_every_database_role() -> None:
    granted = [words[1] for service, words in role_commands() if service == "migrate" and words[0] == "twap-pipeline"]

    assert {name for name in COMMANDS if name.startswith("grant-")} < set(granted)
    assert [granted[0], granted[-1]] == ["migrate", "check"]


def test_compose_variables_are_settings_or_examples() -> None:
    examples, interpolated = set(example_variables()), interpolated_variables()
    passed = {name for role in ROLES for name in SERVICES[role]["environment"]}

    assert passed <= SETTINGS | OTHER_VARIABLES
    assert interpolated <= examples
    assert examples - interpolated <= SETTINGS | OTHER_VARIABLES


def test_compose_passes_no_secret_as_a_variable() -> None:
    assert not set(example_variables()) & {*secret_names(), "DAGSTER_POSTGRES_URL", "AWS_SECRET_ACCESS_KEY"}
    for service in SERVICES.values():
        paths = [str(value) for name, value in service.get("environment", {}).items() if name.endswith("_FILE")]
        assert {path.removeprefix("/run/secrets/") for path in paths} <= set(service.get("secrets", []))


@pytest.mark.parametrize("name", ROLES)
def test_compose_role_has_a_read_only_root_and_no_privileges(name: str) -> None:
    service = SERVICES[name]

    assert (service["user"], service["read_only"], service["cap_drop"]) == ("10001:10001", True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "healthcheck" in service or service["restart"] == "no"


def test_compose_roles_wait_for_the_migration() -> None:
    def waits(name: str) -> bool:
        parents = SERVICES[name].get("depends_on", {})
        return parents.get("migrate", {}).get("condition") == "service_completed_successfully" or any(
            map(waits, parents)
        )

    assert [name for name in ROLES if not waits(name)] == ["migrate"]


@pytest.mark.fault("X4")
def test_compose_publishes_ports_on_the_loopback_only() -> None:
    published = {name: " ".join(service["ports"]) for name, service in SERVICES.items() if "ports" in service}

    assert "web" not in published  # it has no login
    assert "basic_auth" in (DEPLOY / "proxy" / "Caddyfile").read_text("utf-8")
    assert all("127.0.0.1:" in ports for ports in published.values())


def test_compose_mounts_files_that_exist() -> None:
    sources = [volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])]

    assert [path for path in sources if path.startswith("./") and not (DEPLOY / path).exists()] == []
    assert {name for name in sources if not name.startswith("./")} == set(COMPOSE["volumes"])


def test_create_secrets_writes_every_secret_once(tmp_path: Path) -> None:
    script = tmp_path / "create-secrets.sh"
    script.write_bytes((DEPLOY / "create-secrets.sh").read_bytes())

    first = subprocess.run(["sh", script], capture_output=True, text=True, check=True)
    contents = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    second = subprocess.run(["sh", script], capture_output=True, text=True, check=True)

    assert set(contents) == set(COMPOSE["secrets"])
    assert first.stdout.count("created ") == len(contents)
    assert second.stdout == ""
    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == contents
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert contents["dagster_postgres_url"].startswith("postgresql+psycopg2://")
    passwords = re.findall(r"://\w+:([0-9a-f]{48})@postgres:5432/", " ".join(contents.values()))
    assert len(set(passwords)) == 4


@pytest.mark.parametrize(
    ("variables", "status", "output"),
    [
        ({"DAGSTER_POSTGRES_URL_FILE": "secret"}, 0, "postgresql+psycopg2://canary\n"),
        ({"DAGSTER_POSTGRES_URL": "set"}, 0, "set\n"),
        ({"DAGSTER_POSTGRES_URL_FILE": "secret", "DAGSTER_POSTGRES_URL": "set"}, 1, ""),
        ({"DAGSTER_POSTGRES_URL_FILE": "missing"}, 1, ""),
    ],
)
def test_entrypoint_exports_the_url_of_the_file(
    tmp_path: Path, variables: dict[str, str], status: int, output: str
) -> None:
    (tmp_path / "secret").write_text("postgresql+psycopg2://canary\n")
    command = [str(DEPLOY / "entrypoint.sh"), "printenv", "DAGSTER_POSTGRES_URL"]

    ended = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stdout) == (status, output)
    assert "canary" not in ended.stderr


def test_build_context_contains_what_the_image_copies() -> None:
    included = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    containerfile = (DEPLOY / "Containerfile").read_text("utf-8")
    copied = set(re.findall(r"^COPY (?:--chmod=\d+ )?(deploy/\S+)", containerfile, re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    files = {*wheel["packages"], *wheel["force-include"], *project["project"]["license-files"], "README.md"}

    assert included == copied | files | {"pyproject.toml"}


def test_production_dagster_yaml_matches_the_local_one() -> None:
    """The production file is the local one on PostgreSQL, without local paths."""
    local = yaml.safe_load((ROOT / "dagster.yaml").read_text("utf-8"))
    for name in ("local_artifact_storage", "compute_logs"):
        del local[name]
    local["storage"] = {"postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}}

    assert yaml.safe_load((DEPLOY / "dagster.yaml").read_text("utf-8")) == local
