"""What `growth` measures in child processes without Dagster.

A workload returns the function that `subprocess_timer` times. It calls one function of the package, so that a change of
the package needs no change here.
"""

from datetime import UTC, date, datetime

from sqlalchemy import text

from benchmarks.listed_store import GeneratedRefs, ListedStore
from benchmarks.subprocess_timer import Work
from twap_pipeline.domain.object_ref import KEY_DATE_PATTERNS, ObjectRef
from twap_pipeline.ingest.audit_runner import run_audit
from twap_pipeline.ingest.day_listing import find_layouts, record_layouts
from twap_pipeline.ingest.load import ingest_objects
from twap_pipeline.ingest.plan import group_by_day, plan
from twap_pipeline.source.base import open_store
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.engine.url import parse_database_url
from twap_pipeline.storage.ingest_log import read_ingest_log
from twap_pipeline.storage.orders.refresh import dates_pending_refresh, refresh_orders
from twap_pipeline.storage.sql_files import load_queries

SOURCE_URL = "file:///growth/"
_SQL = load_queries("benchmarks", "growth.sql")


def logged_store(url: str) -> tuple[ListedStore, date]:
    """Return a store that lists the objects of the ingest log, and the first day."""
    engine = make_engine(parse_database_url(url))
    with engine.connect() as connection:
        rows = connection.execute(text(_SQL["select_logged_objects"])).all()
        source_url, first_day = connection.execute(text(_SQL["select_source"])).one()
    return ListedStore(source_url, [ObjectRef(*row) for row in rows]), first_day


def generated_store(count: str, last_day: str) -> tuple[ListedStore, date]:
    """Return a store with generated objects, and the first day."""
    refs = GeneratedRefs(int(count), date.fromisoformat(last_day))
    return ListedStore(SOURCE_URL, refs), refs.first_day


def load_days(url: str, source_url: str) -> Work:
    """Prepare the load of every object of a source, each as an object of the day in its key."""
    store, engine = open_store(source_url), make_engine(parse_database_url(url))

    def load() -> None:
        for day, refs in group_by_day(store.list_objects()).items():
            if any(result.error for result in ingest_objects(store, engine, refs, day)):
                raise SystemExit(f"an object of {day} was not loaded")

    return load


def list_generated(_url: str, count: str, last_day: str) -> Work:
    """Prepare a listing of all generated objects, which the other workloads include."""
    store, _ = generated_store(count, last_day)
    return lambda: sum(1 for _ in store.list_objects())


def record_generated_layouts(url: str, count: str, last_day: str) -> Work:
    """Prepare what a complete listing of the generated objects records; until then each run lists everything."""
    store, _ = generated_store(count, last_day)
    engine = make_engine(parse_database_url(url))
    layouts = find_layouts(store.list_objects(), KEY_DATE_PATTERNS)
    return lambda: record_layouts(engine, store, layouts, is_complete=True)


def plan_generated(url: str, count: str, last_day: str) -> Work:
    """Prepare a plan of all generated objects, as ``ingest --dry-run`` makes it."""
    store, _ = generated_store(count, last_day)
    engine = make_engine(parse_database_url(url))

    def plan_all() -> None:
        listed = group_by_day(store.list_objects())
        with engine.connect() as connection:
            entries = read_ingest_log(connection)
        if any(plan(refs, entries).pending for refs in listed.values()):
            raise SystemExit("the plan contains objects that the ingest log contains")

    return plan_all


def audit_generated(url: str, count: str, last_day: str) -> Work:
    """Prepare an audit of generated objects."""
    return _audit(url, *generated_store(count, last_day))


def audit_logged(url: str) -> Work:
    """Prepare an audit of the objects of the ingest log."""
    return _audit(url, *logged_store(url))


def _audit(url: str, store: ListedStore, first_day: date) -> Work:
    engine = make_engine(parse_database_url(url))

    def audit() -> None:
        report = run_audit(store, engine, since=first_day)
        if report.has_errors:
            raise SystemExit(f"the audit has findings: {[(f.code, f.examples[:1]) for f in report.findings]}")

    return audit


def refresh(url: str, day: str) -> Work:
    """Prepare the refresh of the orders of a day."""
    engine = make_engine(parse_database_url(url))

    def refresh_day() -> None:
        with engine.begin() as connection:
            refresh_orders(connection, date.fromisoformat(day))

    return refresh_day


def refresh_pending(url: str) -> Work:
    """Prepare the refresh of all days that need one."""
    engine = make_engine(parse_database_url(url))

    def refresh_days() -> None:
        with engine.connect() as connection:
            days = dates_pending_refresh(connection)
        for day in days:
            with engine.begin() as connection:
                refresh_orders(connection, day)

    return refresh_days


def utc_midnight(day: date) -> datetime:
    """Return the beginning of a UTC day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
