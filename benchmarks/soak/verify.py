"""What a soak is held against: a run without any fault over the very same versions, and a bound on what it cost."""

from collections.abc import Mapping

from sqlalchemy import Engine, text

from benchmarks.soak.faults import StoreFaults
from benchmarks.soak.simulated_bucket import FIRST, Recorded, World
from twap_pipeline.domain.object_ref import partition_date
from twap_pipeline.ingest.audit import audit
from twap_pipeline.ingest.deep_audit import deep_audit
from twap_pipeline.ingest.load import ingest_object
from twap_pipeline.storage.audit.checksum import content_checksum
from twap_pipeline.storage.orders.refresh import DIFFERENCES
from twap_pipeline_tests.invariants import assert_no_open_sessions


def clean_run(world: World, clean: Engine) -> None:
    """Take every version that there ever was, in order, without Dagster and without a fault."""
    store = Recorded(world.versions)
    for version in world.versions:
        done = ingest_object(store, clean, version.ref, partition_date(version.ref))
        if done.error:
            raise SystemExit(f"the clean run failed: {done.ref.key}: {done.error}")


def verdict(world: World, engine: Engine, clean: Engine, faults: StoreFaults, told: Mapping[str, int]) -> list[str]:
    """Return what is not as it must be once everything is taken.

    Args:
        world: What there was to take.
        engine: The database of the soak.
        clean: That of the clean run.
        faults: What the store was asked and answered.
        told: What else was done, by kind.

    Raises:
        AssertionError: A session is left at work, or holds a lock.
    """
    store = Recorded(world.versions)
    listing = list({version.ref.key: version.ref for version in world.versions}.values())
    found = audit(engine, listing, FIRST) + deep_audit(store, engine, listing).found
    wrong = [f"{one.code}: {', '.join(one.examples[:5])}" for one in found if not one.is_informational]
    with engine.connect() as connection, clean.connect() as other:
        if content_checksum(connection) != content_checksum(other):
            wrong.append("the table is not that of the clean run")
        if differing := connection.execute(text(DIFFERENCES)).all():
            wrong.append(f"{len(differing)} orders are not what their events say")
    if faults.requests["GET"] > (bound := gets_max(world, faults, told)):
        wrong.append(f"{faults.requests['GET']} GETs, of {bound} at limit")
    assert_no_open_sessions(engine)
    return wrong


def gets_max(world: World, faults: StoreFaults, told: Mapping[str, int]) -> int:
    """Return the GETs that a soak may cost.

    Two runs at limit work at once, so a version is read twice at limit; a poisoned object is read by three attempts in
    each of two runs, and a listing may be late by one; a faulty answer costs one GET more; a run that is killed, or
    loses a session, reads again what it was at.
    """
    disturbed = told.get("worker killed", 0) + told.get("backend ended", 0)
    spoilt = sum(count for kind, count in faults.injected.items() if kind.startswith("GET"))
    return 2 * len(world.versions) + 8 * world.told["poisoned"] + spoilt + 20 * disturbed
