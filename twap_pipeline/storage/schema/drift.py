"""Finds differences between the database's tables and the declared tables, even at the head revision."""

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import CheckConstraint, Connection, Numeric, inspect, text

from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE, VIEWS, metadata


def drift(connection: Connection) -> list[str]:
    """Return the differences between our tables and the declared ones, one line each; empty if there are none."""
    migration = MigrationContext.configure(
        connection,
        opts={
            "version_table": ALEMBIC_VERSION_TABLE,
            "compare_type": types_differ,
            "compare_server_default": True,
            "include_name": lambda name, kind, _: kind != "table" or name in metadata.tables,
        },
    )
    return [
        *map(_describe_diff, compare_metadata(migration, metadata)),
        *_constraint_drift(connection),
        *_view_drift(connection),
    ]


def _describe_diff(difference: object) -> str:
    """Return one of Alembic's differences as the operation that would remove it and the name of its subject."""
    parts = difference[0] if isinstance(difference, list) else difference
    words = (getattr(part, "name", part) for part in parts if part is not None) if isinstance(parts, tuple) else [parts]
    return " ".join(str(word) for word in words if not isinstance(word, dict))


def types_differ(
    _context: object, _column: object, _declared: object, present: object, declared: object
) -> bool | None:
    """Compare precision and scale of NUMERIC, which Alembic ignores; return None for other types: Alembic compares."""
    if isinstance(present, Numeric) and isinstance(declared, Numeric):
        return (present.precision, present.scale) != (declared.precision, declared.scale)
    return None


def _constraint_drift(connection: Connection) -> list[str]:
    """Return differences that Alembic does not compare: primary keys, and CHECK constraints by name."""
    inspector = inspect(connection)
    differences = []
    for name in sorted(set(metadata.tables) & set(inspector.get_table_names())):
        table = metadata.tables[name]
        key = [column.name for column in table.primary_key]
        if (present_key := inspector.get_pk_constraint(name)["constrained_columns"]) != key:
            differences.append(f"the primary key of {name} is {present_key}, declared is {key}")
        checks = {str(item.name) for item in table.constraints if isinstance(item, CheckConstraint)}
        present_checks = {str(item["name"]) for item in inspector.get_check_constraints(name)}
        differences += [f"{name} lacks the check {check}" for check in sorted(checks - present_checks)]
        differences += [f"{name} has the undeclared check {check}" for check in sorted(present_checks - checks)]
    return differences


def _view_drift(connection: Connection) -> list[str]:
    """Return how the views differ from the declared ones, compared in PostgreSQL's normalized form.

    The declared views are created in a savepoint that is rolled back.
    """
    return [difference for name in VIEWS if (difference := _describe_view_drift(connection, name))]


def _describe_view_drift(connection: Connection, name: str) -> str | None:
    definition = text("SELECT pg_get_viewdef(to_regclass(:name))")
    present = connection.scalar(definition, {"name": name})
    if present is None:
        return f"the view {name} is missing"
    with connection.begin_nested() as savepoint:
        connection.exec_driver_sql(f"CREATE TEMP VIEW declared_view AS {VIEWS[name]}")
        declared = connection.scalar(definition, {"name": "declared_view"})
        savepoint.rollback()
    return None if present == declared else f"the view {name} is not as declared"
