"""Columns of the tables as Dagster metadata: the schema and the column lineage.

The columns, their descriptions and their sources are declared in `domain`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from sqlalchemy import Table


def table_schema(
    table: "Table", descriptions: Mapping[str, str], sources: Mapping[str, Sequence[str]] | None = None
) -> dg.TableSchema:
    """Return the described columns of a table or view as a Dagster table schema, in the order of the descriptions.

    A description names the source columns if their names differ, because the open-source UI shows no column lineage.
    """
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name,
                type=str(table.columns[name].type).lower().replace("datetime", "timestamptz"),
                description=_describe(name, description, (sources or {}).get(name, ())),
                constraints=dg.TableColumnConstraints(nullable=bool(table.columns[name].nullable)),
            )
            for name, description in descriptions.items()
        ]
    )


def column_lineage(parent: dg.AssetKey, sources: Mapping[str, Sequence[str]]) -> dg.TableColumnLineage:
    """Return the lineage of the columns of a table whose only parent is ``parent``."""
    return dg.TableColumnLineage(
        {name: [dg.TableColumnDep(parent, source) for source in columns] for name, columns in sources.items()}
    )


def _describe(name: str, description: str, sources: Sequence[str]) -> str:
    return description if set(sources) <= {name} else f"{description} Source: {', '.join(sources)}."
