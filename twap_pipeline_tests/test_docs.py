"""Tests that compare the documentation with the code.

The tests read names from the code and compare them with the tables of `docs/reference`. Commands in examples are
parsed by the programs' own parsers, SQL statements are executed, and links are resolved. Keep out: the style of the
text.
"""

import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import click
import psycopg
import pytest
import yaml
from alembic.config import CommandLine
from alembic.script import ScriptDirectory
from dagster_webserver.cli import dagster_webserver
from pydantic_core import PydanticUndefined
from sqlalchemy import URL, Engine

import start
from twap_pipeline.api import create_app
from twap_pipeline.cli import cli
from twap_pipeline.definitions import build_definitions
from twap_pipeline.defs.partition_metadata import (
    daily_stats_metadata,
    fills_metadata,
    orders_metadata,
    status_metadata,
)
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.exports.formats import FORMATS
from twap_pipeline.ingest.audit import AuditCode, AuditFinding
from twap_pipeline.paths import ROOT
from twap_pipeline.settings import Settings, load_settings, secret_names
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.engine.server_requirements import MINIMUM_SERVER_VERSION
from twap_pipeline.storage.orders.refresh import RefreshResult
from twap_pipeline.storage.reports.daily_orders import DailyOrderSummary
from twap_pipeline.storage.reports.partition_state import FillsPartition, OrdersPartition, StatusPartition
from twap_pipeline.storage.schema.models import (
    ALEMBIC_VERSION_TABLE,
    metadata,
    twap_daily_stats,
    twap_order_fills,
    twap_order_reconciliation,
)
from twap_pipeline.storage.schema.revision_gate import migrations_config
from twap_pipeline_tests.factories import Bucket, event
from twap_pipeline_tests.invariants import ingest_everything
from twap_pipeline_tests.metric_names import api_metrics, pipeline_metrics

DOCS = ROOT / "docs"
README, CHANGELOG, CONTRIBUTING = ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"
REFERENCE, HOW_TO = DOCS / "reference", DOCS / "how-to"
DEPLOY, MIGRATE = HOW_TO / "deploy.md", HOW_TO / "migrate.md"
ARCHITECTURE, GLOSSARY = DOCS / "explanation" / "architecture.md", DOCS / "glossary.md"
PAGES = (README, CHANGELOG, CONTRIBUTING, ROOT / "SECURITY.md", *sorted(DOCS.rglob("*.md")))

README_LINES_MAX = 150
GLOSSARY_ENTRIES_MAX = 15

_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^(?:python3 )?(?:\S*/)?(twap-pipeline|alembic|start\.py) (?!-c )(\S.*)$")
_MODULE_PATH = re.compile(r"`(twap_pipeline(?:_tests)?/[\w/.]*\w/?|alembic/[\w/.]+|benchmarks/[\w/.]+)`")

REVISIONS = list(ScriptDirectory.from_config(migrations_config()).walk_revisions())
SECRET_FILES = {f"{name}_FILE" for name in secret_names()}
_VIEWS = (twap_daily_stats, twap_order_fills, twap_order_reconciliation)
TABLES = {**metadata.tables, **{view.name: view for view in _VIEWS}}
COMMANDS = sorted(cli.list_commands(click.Context(cli)))


def command_named(name: str) -> click.Command:
    """Return a command of `twap-pipeline`."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None, f"there is no command {name}"
    return command


def page_id(page: Path) -> str:
    """Return the page's path in the repository, without its suffix."""
    return page.relative_to(ROOT).with_suffix("").as_posix()


def fenced(page: Path, language: str) -> list[str]:
    """Return the page's code blocks in a language."""
    return [code for name, code in _FENCE.findall(page.read_text("utf-8")) if name == language]


def prose(page: Path) -> str:
    """Return the page without its code blocks."""
    return _FENCE.sub("", page.read_text("utf-8"))


def examples() -> Iterator[tuple[str, str]]:
    """Yield program and arguments of every command line in the pages, from code blocks and inline code."""
    for page in PAGES:
        lines = [line.strip() for code in fenced(page, "bash") for line in code.splitlines()]
        for text in (*lines, *re.findall(r"`([^`\n]+)`", prose(page))):
            if match := _COMMAND.match(text):
                yield match[1], match[2]


def section(page: Path, heading: str) -> str:
    """Return the text below a heading, up to the next heading of any level. The heading must occur once."""
    sections = re.findall(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", prose(page), re.MULTILINE | re.DOTALL)
    assert len(sections) == 1, f"{len(sections)} sections {heading!r} in {page.name}"
    return str(sections[0])


def first_cells(text: str) -> list[str]:
    """Return the names in code font of the first column of every table row, several per cell included."""
    cells = re.findall(r"^\| (`[^|]*`) \|", text, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def table_row(page: Path, heading: str, name: str) -> list[str]:
    """Return the cells of the row for a name in the table below a heading."""
    rows = [line for line in section(page, heading).splitlines() if line.startswith(f"| `{name}` |")]
    assert len(rows) == 1, f"{len(rows)} rows for `{name}` below {heading!r}"
    return [cell.strip() for cell in rows[0].strip("|").split("|")]


def slug(heading: str) -> str:
    """Return the anchor that GitHub generates for a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def links(page: Path) -> list[str]:
    """Return the targets of the page's relative links and images."""
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)) if "://" not in target]


def default_text(name: str) -> str:
    """Return a setting's default as the settings page writes it."""
    default = Settings.model_fields[name].default
    if default is PydanticUndefined:
        return "`.twap`"
    if default in (None, "", ()):
        return "unset"
    if isinstance(default, tuple):
        default = ",".join(default)
    return f"`{str(default).lower() if isinstance(default, bool) else default}`".replace(".0`", "`")


def test_readme_is_short() -> None:
    assert len(README.read_text("utf-8").splitlines()) <= README_LINES_MAX


def test_glossary_is_short_and_sorted() -> None:
    terms = re.findall(r"^\| ([a-z][\w ]*) \|", GLOSSARY.read_text("utf-8"), re.MULTILINE)[1:]

    assert terms == sorted(terms)
    assert 0 < len(terms) < GLOSSARY_ENTRIES_MAX


def test_commands_page_lists_every_command() -> None:
    assert sorted(first_cells(section(REFERENCE / "commands.md", "Commands"))) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_page_lists_the_options(name: str) -> None:
    parameters = command_named(name).params
    options = {option for parameter in parameters if isinstance(parameter, click.Option) for option in parameter.opts}

    assert set(first_cells(section(REFERENCE / "commands.md", name))) == options


@pytest.mark.parametrize(("program", "arguments"), sorted(set(examples())))
def test_command_examples_can_be_parsed(program: str, arguments: str) -> None:
    words = shlex.split(arguments)
    if program == "start.py":
        assert words[0] in start.COMMANDS
    elif program == "alembic":
        assert CommandLine().parser.parse_args(words).cmd is not None
    elif words not in (["--help"], ["--version"]):
        command_named(words[0]).make_context(words[0], words[1:]).close()


def test_examples_include_every_program() -> None:
    assert {program for program, _ in examples()} == {"twap-pipeline", "alembic", "start.py"}


def test_commands_page_lists_the_launcher_commands() -> None:
    lines = first_cells(section(REFERENCE / "commands.md", "Launcher"))

    assert {line.split()[-1] for line in lines if "start.py" in line} == start.COMMANDS.keys()


def test_contributing_names_only_make_targets() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    used = set(re.findall(r"`make ([a-z-]+)`", prose(CONTRIBUTING)))

    assert used
    assert used <= targets


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_settings_page_has_the_default_and_meaning(name: str) -> None:
    field = Settings.model_fields[name]

    assert field.alias is not None
    assert table_row(REFERENCE / "settings.md", "Variables", field.alias)[1:] == [default_text(name), field.description]


def test_settings_page_lists_the_secrets() -> None:
    documented = first_cells(section(REFERENCE / "settings.md", "Secrets in files"))

    assert set(documented) >= SECRET_FILES


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_page_names_only_settings_that_exist(page: Path) -> None:
    names = set(re.findall(r"\bTWAP_[A-Z_]+\b", page.read_text("utf-8")))

    assert names <= {field.alias for field in Settings.model_fields.values()} | {
        f"{name}_FILE" for name in secret_names()
    }


@pytest.mark.parametrize("name", sorted(metadata.tables))
def test_tables_page_has_the_primary_key(name: str) -> None:
    key = ", ".join(column.name for column in metadata.tables[name].primary_key)

    assert table_row(REFERENCE / "tables.md", "Tables", name)[2] == f"`{key}`"


@pytest.mark.parametrize("name", sorted(TABLES))
def test_tables_page_lists_exactly_the_columns(name: str) -> None:
    assert sorted(first_cells(section(REFERENCE / "tables.md", name))) == sorted(TABLES[name].columns.keys())


def test_tables_page_names_the_version_table() -> None:
    assert f"`{ALEMBIC_VERSION_TABLE}`" in (REFERENCE / "tables.md").read_text("utf-8")


@pytest.mark.fault("A8")
def test_roles_page_names_the_oldest_server() -> None:
    assert f"PostgreSQL {MINIMUM_SERVER_VERSION} to " in (REFERENCE / "database-roles.md").read_text("utf-8")


def test_revision_ids_of_examples_are_free() -> None:
    """With the id of an existing revision, every later command of Alembic fails."""
    numbers = re.findall(r"--rev-id (\d+)", MIGRATE.read_text("utf-8"))

    assert numbers
    assert not {*numbers} & {script.revision for script in REVISIONS}


def test_api_page_lists_every_path() -> None:
    paths = [cell.removeprefix("GET ") for cell in first_cells(section(REFERENCE / "api.md", "Endpoints"))]

    assert sorted(paths) == sorted(create_app(Settings()).openapi()["paths"])


def test_api_page_lists_every_filter_of_orders() -> None:
    filters = first_cells(section(REFERENCE / "api.md", "Parameters"))
    parameters = create_app(Settings()).openapi()["paths"]["/api/v2/orders"]["get"]["parameters"]

    assert sorted(filters) == sorted(
        {parameter["name"] for parameter in parameters} - {"limit", "cursor", "time_field"}
    )


def test_export_page_lists_every_format() -> None:
    assert sorted(first_cells(section(HOW_TO / "export.md", "Formats"))) == sorted(FORMATS)


@pytest.mark.parametrize(
    ("heading", "types"), [("Metrics of the API", api_metrics()), ("Metrics of the pipeline", pipeline_metrics())]
)
def test_metrics_page_has_name_and_type(heading: str, types: dict[str, str]) -> None:
    text = section(REFERENCE / "metrics.md", heading)

    assert sorted(first_cells(text)) == sorted(types)
    for name, kind in types.items():
        assert table_row(REFERENCE / "metrics.md", heading, name)[1] == kind


def test_monitor_page_lists_every_alert() -> None:
    groups = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text("utf-8"))["groups"]

    for rule in (rule for group in groups for rule in group["rules"]):
        assert table_row(HOW_TO / "monitor.md", "Alerts", rule["alert"])[1] == rule["labels"]["severity"]


def test_dagster_page_lists_every_definition() -> None:
    repository = build_definitions(load_settings()).get_repository_def()
    names = [
        *(key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()),
        *(job for job in repository.job_names if not job.startswith("__")),
        *(sensor.name for sensor in repository.sensor_defs),
        *(schedule.name for schedule in repository.schedule_defs),
    ]

    assert sorted(first_cells(section(REFERENCE / "dagster.md", "Definitions"))) == sorted(names)


def test_asset_checks_page_lists_every_check() -> None:
    graph = build_definitions(load_settings()).get_repository_def().asset_graph
    names = [key.name for key in graph.asset_check_keys]

    assert sorted(first_cells(section(REFERENCE / "asset-checks.md", "Checks"))) == sorted(names)


def test_dagster_page_lists_the_partition_metadata() -> None:
    status = StatusPartition(0, 0, 0, 0, 0, 0, RowCounts(), {}, [("key", 1, "error")], {}, {}, [])
    fills = FillsPartition(0, 0, 0, 0, 0, 0, RowCounts(), {}, [("key", 1, "error")], {}, {}, Decimal(), [])
    metadata = {
        "twap_status": status_metadata(status, [], 0.0),
        "twap_fills": fills_metadata(fills, [], 0.0),
        "twap_orders": orders_metadata(OrdersPartition({}, 0, 0, Decimal()), RefreshResult(0, 0, 0), 0.0),
        "twap_daily_stats": daily_stats_metadata(DailyOrderSummary(0, 0, 0, Decimal(), {}, [])),
    }

    for asset, entries in metadata.items():
        listed = first_cells(section(REFERENCE / "dagster.md", f"Metadata of {asset}"))
        assert sorted(listed) == sorted(entries)


def test_audit_codes_page_lists_every_code() -> None:
    page = REFERENCE / "audit-codes.md"
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", prose(page), re.MULTILINE)
    levels = {True: "informational", False: "error"}

    assert sorted(rows) == sorted(
        (code.value, levels[AuditFinding(code, (), 0).is_informational]) for code in AuditCode
    )


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_relative_links_can_be_resolved(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{page_id(page)} links to {path}, which does not exist"
        headings = re.findall(r"^#+ (.+)$", prose(file), re.MULTILINE) if anchor else []
        assert not anchor or anchor in {slug(heading) for heading in headings}, target


def test_every_page_is_linked() -> None:
    linked = {(page.parent / target.partition("#")[0]).resolve() for page in PAGES for target in links(page)}

    assert [page_id(page) for page in PAGES if page != README and page.resolve() not in linked] == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_page_names_only_module_paths_that_exist(page: Path) -> None:
    assert [path for path in _MODULE_PATH.findall(prose(page)) if not (ROOT / path).exists()] == []


def test_architecture_maps_every_subpackage() -> None:
    packages = {path.parent.name for path in (ROOT / "twap_pipeline").glob("*/__init__.py")}
    layers = section(ARCHITECTURE, "Layers")

    assert [name for name in sorted(packages) if f"`{name}/`" not in layers] == []


def test_diagrams_are_mermaid_sequence_diagrams() -> None:
    diagrams = [code for page in PAGES for code in fenced(page, "mermaid")]

    assert diagrams
    for code in diagrams:
        lines = [line.strip() for line in code.splitlines()]
        assert lines[0] == "sequenceDiagram"
        opened = sum(line.startswith(("alt", "opt", "loop")) for line in lines)
        assert opened == lines.count("end")


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_code_fences_are_closed(page: Path) -> None:
    assert page.read_text("utf-8").count("```") % 2 == 0


def test_examples_name_the_alembic_head() -> None:
    named = {number for page in PAGES for number in re.findall(r"\bat head (\d{3})", page.read_text("utf-8"))}

    assert named == {REVISIONS[0].revision}


def test_changelog_names_the_alembic_head() -> None:
    latest = re.findall(r"^### Schema\n(.*?)(?=^#|\Z)", prose(CHANGELOG), re.MULTILINE | re.DOTALL)[0]

    assert re.findall(r"Alembic revision `(\w+)`", latest) == [REVISIONS[0].revision]


@pytest.mark.parametrize("path", [script.path for script in REVISIONS], ids=lambda path: Path(path).stem)
def test_migration_guide_describes_the_revision(path: str) -> None:
    revision, file = Path(path).stem.partition("_")[0], Path(path).relative_to(ROOT).as_posix()

    assert section(MIGRATE, f"{revision}: `{file}`").strip()


@pytest.mark.parametrize(
    "statement", [code for page in PAGES for code in fenced(page, "sql")], ids=lambda code: " ".join(code.split())[:40]
)
def test_sql_examples_run_on_a_migrated_database(statement: str, database: URL) -> None:
    with psycopg.connect(database.render_as_string(hide_password=False)) as connection:
        connection.execute(statement.encode())
        connection.rollback()


def test_coverage_example_counts_an_event_of_two_objects_once(engine: Engine, bucket: Bucket) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)  # the example shows the last 14 days
    bucket.put(f"{yesterday:%Y/%m/%d}/a.parquet", [event(1), event(2)])
    bucket.put(f"{yesterday:%Y/%m/%d}/b.parquet", [event(2, asset="BTC"), event(3)], hours=1)
    ingest_everything(LocalDirectory(bucket.directory), engine)
    (coverage,) = [code for code in fenced(HOW_TO / "query.md", "sql") if "generate_series" in code]

    with engine.connect() as connection:
        rows = connection.exec_driver_sql(coverage).mappings().all()

    assert [(row["objects"], row["rows_read"], row["rows_stored"]) for row in rows if row["objects"]] == [(2, 4, 3)]


@pytest.mark.fault("X4")
def test_deploy_page_restricts_the_web_server() -> None:
    advice = DEPLOY.read_text("utf-8").split("## Web server and daemon")[1].split("\n## ")[0]

    for words in ("has no login", "Keep it on the loopback", "a proxy with authentication", "`--read-only`"):
        assert words in advice


@pytest.mark.fault("X4")
@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_examples_bind_servers_to_the_loopback(page: Path) -> None:
    code = " ".join(fenced(page, "bash"))

    assert set(re.findall(r"--host[ =](\S+)", code)) <= {"127.0.0.1", "localhost"}


@pytest.mark.fault("X4")
@pytest.mark.parametrize("command", [command_named("dev"), dagster_webserver], ids=["dev", "dagster-webserver"])
def test_servers_bind_to_the_loopback_by_default(command: click.Command) -> None:
    (host,) = [option for option in command.params if option.name == "host"]

    assert host.default == "127.0.0.1"
