"""Which errors refuse a run: such a run is no attempt at its objects."""

from types import SimpleNamespace
from typing import Any

import dagster as dg
import psycopg
import pytest

from twap_pipeline.defs.uncounted_runs import REFUSED_TAG, tag_refused_run
from twap_pipeline.errors import (
    BudgetExceededError,
    DatabaseUnavailableError,
    LocalResourceError,
    ObjectInvalidError,
    SchemaRevisionError,
    SourceAccessError,
    SourceUnavailableError,
)


def caused_by(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "is_refused"),
    [
        (SchemaRevisionError("the database is at 001"), True),
        (DatabaseUnavailableError("no connection"), True),
        (caused_by(DatabaseUnavailableError("closed"), psycopg.OperationalError("server closed")), True),
        (caused_by(DatabaseUnavailableError("full"), psycopg.errors.DiskFull("no space left")), False),
        (SourceAccessError("GET s3://twap/raw/a: 403"), True),
        (SourceUnavailableError("GET s3://twap/raw/a: 503"), True),
        (RuntimeError("a fault of the code"), False),
        (BudgetExceededError("over the budget"), False),
        (LocalResourceError("no space left"), False),
        (ObjectInvalidError("a.parquet", "not parquet"), False),
        (dg.DagsterExecutionInterruptedError(), True),
        (KeyboardInterrupt(), True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_run_is_tagged_if_the_error_refuses_it(error: BaseException, *, is_refused: bool) -> None:
    """A full disk is found after the objects are read, so that the run counts."""
    tags: dict[str, dict[str, str]] = {}
    context: Any = SimpleNamespace(
        run=SimpleNamespace(run_id="run"),
        instance=SimpleNamespace(add_run_tags=lambda run_id, added: tags.update({run_id: added})),
        log=SimpleNamespace(warning=lambda _: None),
    )

    with pytest.raises(type(error)), tag_refused_run(context):
        raise error

    assert tags == ({"run": {REFUSED_TAG: "true"}} if is_refused else {})
