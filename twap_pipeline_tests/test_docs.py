"""The documentation against the code: what exists is told, and what is told exists.

Names are looked up where the code keeps them; the commands in the examples are parsed by the programs' own parsers, and
every SQL statement is executed. What the words say, only a reader can judge.
"""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import psycopg
import pytest
import yaml
from alembic.config import CommandLine
from alembic.script import ScriptDirectory
from dagster_webserver.cli import dagster_webserver
from sqlalchemy import URL

from twap_pipeline.api import create_app
from twap_pipeline.api.metrics import Metrics
from twap_pipeline.cli import cli
from twap_pipeline.definitions import build_definitions
from twap_pipeline.exports.formats import FORMATS
from twap_pipeline.paths import ROOT
from twap_pipeline.settings import Settings, load_settings
from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE, metadata
from twap_pipeline.storage.schema.revision_gate import migrations_config

README, CHANGELOG = ROOT / "README.md", ROOT / "CHANGELOG.md"
MIGRATIONS, OPERATIONS = ROOT / "docs" / "migrations.md", ROOT / "docs" / "operations.md"
API = ROOT / "docs" / "api.md"
PAGES = (README, CHANGELOG, *sorted((ROOT / "docs").glob("*.md")))

_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^(?:python3 )?(?:\S*/)?(twap-pipeline|alembic|start\.py) (?!-c )(\S.*)$")

REVISIONS = list(ScriptDirectory.from_config(migrations_config()).walk_revisions())


def fenced(page: Path, language: str) -> list[str]:
    """Return the page's code blocks in a language."""
    return [code for name, code in _FENCE.findall(page.read_text("utf-8")) if name == language]


def prose(page: Path) -> str:
    """Return the page without its code blocks."""
    return _FENCE.sub("", page.read_text("utf-8"))


def examples() -> Iterator[tuple[str, str]]:
    """Yield program and arguments of every command line in the pages, in a code block or in the text."""
    for page in PAGES:
        lines = [line.strip() for code in fenced(page, "bash") for line in code.splitlines()]
        for text in (*lines, *re.findall(r"`([^`\n]+)`", prose(page))):
            if found := _COMMAND.match(text):
                yield found[1], found[2]


def section(page: Path, heading: str) -> str:
    """Return what stands below a heading, up to the next one of any level."""
    (found,) = re.findall(rf"^#+ {heading}\n(.*?)(?=^#|\Z)", prose(page), re.MULTILINE | re.DOTALL)
    return str(found)


def table_row(heading: str, name: str) -> list[str]:
    """Return the cells of the line for a name in the table below a heading of the README."""
    rows = [line for line in section(README, heading).splitlines() if line.startswith(f"| `{name}` |")]
    assert len(rows) == 1, f"{len(rows)} rows for `{name}` below {heading!r}"
    return [cell.strip() for cell in rows[0].strip("|").split("|")]


def slug(heading: str) -> str:
    """Return a heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def links(page: Path) -> list[str]:
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)) if "://" not in target]


def start_commands() -> set[str]:
    spec = importlib.util.spec_from_file_location("start", ROOT / "start.py")
    assert spec is not None
    assert spec.loader is not None
    start = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(start)
    return set(start.COMMANDS)


@pytest.mark.unit
@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_is_in_the_readme(name: str) -> None:
    assert all(table_row("The command", name))


@pytest.mark.unit
@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_option_of_a_command_is_in_the_readme(name: str) -> None:
    options = {option for parameter in cli.commands[name].params for option in parameter.opts}

    assert [option for option in sorted(options) if option not in README.read_text("utf-8")] == []


@pytest.mark.unit
@pytest.mark.parametrize(("program", "arguments"), sorted(set(examples())))
def test_every_command_line_in_the_pages_can_be_parsed(program: str, arguments: str) -> None:
    words = shlex.split(arguments)
    if program == "start.py":
        assert words[0] in start_commands()
    elif program == "alembic":
        assert CommandLine().parser.parse_args(words).cmd is not None
    elif words != ["--help"]:
        cli.commands[words[0]].make_context(words[0], words[1:]).close()


@pytest.mark.unit
def test_both_programs_and_the_launcher_are_among_the_examples() -> None:
    assert {program for program, _ in examples()} == {"twap-pipeline", "alembic", "start.py"}


@pytest.mark.unit
def test_every_command_of_the_launcher_is_in_the_readme() -> None:
    told = {arguments.split()[0] for program, arguments in examples() if program == "start.py"}

    assert told == start_commands()


@pytest.mark.unit
@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_in_the_readme_as_the_code_describes_it(name: str) -> None:
    field = Settings.model_fields[name]

    assert field.alias is not None
    assert table_row("Settings", field.alias)[-1] == field.description


@pytest.mark.unit
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_a_setting_that_does_not_exist(page: Path) -> None:
    named = set(re.findall(r"\bTWAP_[A-Z_]+\b", page.read_text("utf-8")))

    assert named <= {field.alias for field in Settings.model_fields.values()}


@pytest.mark.unit
@pytest.mark.parametrize("name", sorted(metadata.tables))
def test_every_table_is_in_the_readme_with_its_key(name: str) -> None:
    assert table_row("Tables", name)[2] == f"`{', '.join(column.name for column in metadata.tables[name].primary_key)}`"


@pytest.mark.unit
@pytest.mark.parametrize("name", sorted(metadata.tables))
def test_the_readme_names_no_column_that_a_table_has_not(name: str) -> None:
    assert set(re.findall(r"`(\w+)`", table_row("Tables", name)[3])) <= set(metadata.tables[name].columns.keys())


@pytest.mark.unit
@pytest.mark.parametrize("name", sorted(metadata.tables))
def test_every_column_is_in_the_migration_guide(name: str) -> None:
    told = set(re.findall(r"`(\w+)`", prose(MIGRATIONS)))

    assert set(metadata.tables[name].columns.keys()) - told == set()


@pytest.mark.unit
def test_every_path_of_the_api_is_on_its_page() -> None:
    told = re.findall(r"^\| `GET (\S+)` \|", section(API, "Questions"), re.MULTILINE)

    assert sorted(told) == sorted(create_app(Settings()).openapi()["paths"])


@pytest.mark.unit
def test_every_format_of_an_export_and_every_metric_is_on_the_page_of_the_api() -> None:
    metrics = re.findall(r"^# TYPE (\w+)", Metrics().render().decode(), re.MULTILINE)

    assert set(re.findall(r"^\| `(\w+)` \|", section(API, "Exports"), re.MULTILINE)) == set(FORMATS)
    assert {name for name in metrics if not name.endswith("_created")} == set(
        re.findall(r"`(twap_api_\w+)`", prose(API))
    )


@pytest.mark.unit
def test_every_definition_is_in_the_readme() -> None:
    repository = build_definitions(load_settings()).get_repository_def()
    names = [
        *(key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()),
        *(job for job in repository.job_names if not job.startswith("__")),
        *(sensor.name for sensor in repository.sensor_defs),
        *(schedule.name for schedule in repository.schedule_defs),
    ]

    told = re.findall(r"^\| `(\w+)` \| (?:source asset|asset|job|sensor|schedule) \|", prose(README), re.MULTILINE)

    assert sorted(told) == sorted(names)


@pytest.mark.unit
def test_every_asset_check_is_on_the_page_of_operations() -> None:
    graph = build_definitions(load_settings()).get_repository_def().asset_graph

    told = re.findall(r"^\| `(\w+)` \|", section(OPERATIONS, "Asset checks"), re.MULTILINE)

    assert sorted(told) == sorted(key.name for key in graph.asset_check_keys)


@pytest.mark.unit
@pytest.mark.parametrize(("page", "target"), [(page, target) for page in PAGES for target in links(page)])
def test_every_relative_link_leads_somewhere(page: Path, target: str) -> None:
    path, _, anchor = target.partition("#")
    file = page.parent / path if path else page

    assert file.exists(), f"{page.name} links to {path}, which does not exist"
    if anchor:
        headings = re.findall(r"^#+ (.+)$", prose(file), re.MULTILINE)
        assert anchor in {slug(heading) for heading in headings}


@pytest.mark.unit
def test_the_changelog_names_the_alembic_head_under_schema() -> None:
    latest = re.findall(r"^### Schema\n(.*?)(?=^#|\Z)", prose(CHANGELOG), re.MULTILINE | re.DOTALL)[0]

    assert re.findall(r"Alembic revision `(\w+)`", latest) == [REVISIONS[0].revision]


@pytest.mark.unit
@pytest.mark.parametrize("path", [script.path for script in REVISIONS], ids=lambda path: Path(path).stem)
def test_every_revision_has_its_place_in_the_migration_guide(path: str) -> None:
    assert f": `{Path(path).relative_to(ROOT).as_posix()}`" in MIGRATIONS.read_text("utf-8")


@pytest.mark.unit
def test_the_migration_guide_names_the_version_table() -> None:
    assert f"`{ALEMBIC_VERSION_TABLE}`" in MIGRATIONS.read_text("utf-8")


@pytest.mark.unit
def test_the_production_instance_is_the_local_one_on_postgresql() -> None:
    local = yaml.safe_load((ROOT / "dagster.yaml").read_text("utf-8"))
    for name in ("local_artifact_storage", "compute_logs"):
        del local[name]
    local["storage"] = {"postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}}

    (told,) = (code for code in fenced(OPERATIONS, "yaml") if code.startswith("storage:"))

    assert yaml.safe_load(told) == local


@pytest.mark.parametrize(
    "statement", [code for page in PAGES for code in fenced(page, "sql")], ids=lambda code: " ".join(code.split())[:40]
)
def test_every_sql_statement_in_the_pages_is_executed(statement: str, database: URL) -> None:
    with psycopg.connect(database.render_as_string(hide_password=False)) as connection:
        connection.execute(statement.encode())
        connection.rollback()


@pytest.mark.fault("X4")
@pytest.mark.unit
def test_the_page_of_operations_keeps_the_web_server_from_strangers() -> None:
    section = OPERATIONS.read_text("utf-8").split("### Web server and daemon")[1].split("\n## ")[0]

    for advice in ("has no login", "leave it on the loopback", "a proxy that authenticates", "`--read-only`"):
        assert advice in section


@pytest.mark.fault("X4")
@pytest.mark.unit
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_example_opens_a_server_to_the_network(page: Path) -> None:
    examples = " ".join(fenced(page, "bash"))

    assert set(re.findall(r"--host[ =](\S+)", examples)) <= {"127.0.0.1", "localhost"}


@pytest.mark.fault("X4")
@pytest.mark.unit
@pytest.mark.parametrize("command", [cli.commands["dev"], dagster_webserver], ids=["dev", "dagster-webserver"])
def test_a_server_listens_on_the_loopback_unless_told_otherwise(command: click.Command) -> None:
    (host,) = [option for option in command.params if option.name == "host"]

    assert host.default == "127.0.0.1"
