"""Differences between the database's tables and the declared ones, beyond what the revision shows."""

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import CheckConstraint, Connection, Numeric, inspect, text

from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE, DAILY_STATS, metadata


def drift(connection: Connection) -> list[str]:
    """Return how our tables differ from the declared ones, a line each; nothing when they agree."""
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
    """Return one of Alembic's differences in a few words: the operation that would mend it, and on what."""
    parts = difference[0] if isinstance(difference, list) else difference
    words = (getattr(part, "name", part) for part in parts if part is not None) if isinstance(parts, tuple) else [parts]
    return " ".join(str(word) for word in words if not isinstance(word, dict))


def types_differ(
    _context: object, _column: object, _declared: object, present: object, declared: object
) -> bool | None:
    """Tell Alembic of a NUMERIC with other limits than declared, which it would overlook; of the rest, nothing."""
    if isinstance(present, Numeric) and isinstance(declared, Numeric):
        return (present.precision, present.scale) != (declared.precision, declared.scale)
    return None


def _constraint_drift(connection: Connection) -> list[str]:
    """Return what Alembic does not compare: primary keys, and checks by name."""
    inspector = inspect(connection)
    found = []
    for name in sorted(set(metadata.tables) & set(inspector.get_table_names())):
        table = metadata.tables[name]
        key = [column.name for column in table.primary_key]
        if (present_key := inspector.get_pk_constraint(name)["constrained_columns"]) != key:
            found.append(f"the primary key of {name} is {present_key}, declared is {key}")
        checks = {str(item.name) for item in table.constraints if isinstance(item, CheckConstraint)}
        present_checks = {str(item["name"]) for item in inspector.get_check_constraints(name)}
        found += [f"{name} lacks the check {check}" for check in sorted(checks - present_checks)]
        found += [f"{name} has a check that is not declared, {check}" for check in sorted(present_checks - checks)]
    return found


def _view_drift(connection: Connection) -> list[str]:
    """Return how the view differs, by what PostgreSQL itself makes of the declared one; nothing is left of that."""
    definition = text("SELECT pg_get_viewdef(to_regclass(:name))")
    present = connection.scalar(definition, {"name": "twap_daily_stats"})
    if present is None:
        return ["the view twap_daily_stats is missing"]
    with connection.begin_nested() as savepoint:
        connection.exec_driver_sql(f"CREATE TEMP VIEW declared_view AS {DAILY_STATS}")
        declared = connection.scalar(definition, {"name": "declared_view"})
        savepoint.rollback()
    return [] if present == declared else ["the view twap_daily_stats is not as declared"]
