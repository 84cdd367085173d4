"""Verification of a soak: compare the tables with a run without faults, and bound the number of GET requests."""

from collections.abc import Mapping

from sqlalchemy import Engine

from twap_pipeline.domain.object_ref import partition_date
from twap_pipeline.ingest.audit import audit
from twap_pipeline.ingest.deep_audit import deep_audit
from twap_pipeline.ingest.load import ingest_object
from twap_pipeline.storage.audit.checksum import content_checksum
from twap_pipeline_tests.invariants import assert_no_open_sessions, differing_orders
from twap_pipeline_tests.soak.faults import StoreFaults
from twap_pipeline_tests.soak.simulated_bucket import FIRST_DAY, RecordedStore, SimulatedBucket


def load_without_faults(bucket: SimulatedBucket, engine: Engine) -> None:
    """Load every recorded version in the order of its upload, without Dagster.

    Raises:
        RuntimeError: A version could not be loaded.
    """
    store = RecordedStore(bucket.versions)
    for version in bucket.versions:
        result = ingest_object(store, engine, version.ref, partition_date(version.ref))
        if result.error:
            raise RuntimeError(f"the run without faults failed at {result.ref.key}: {result.error}")


def find_problems(
    bucket: SimulatedBucket,
    engine: Engine,
    expected: Engine,
    faults: StoreFaults,
    action_counts: Mapping[str, int],
) -> list[str]:
    """Return one message per violated invariant, after every object is loaded.

    Args:
        bucket: The bucket of the soak.
        engine: The database of the soak.
        expected: The database of the run without faults.
        faults: Counts of requests and of injected S3 faults.
        action_counts: Number of other fault actions by kind.

    Raises:
        AssertionError: A session of the pipeline is still active or holds a lock.
    """
    store = RecordedStore(bucket.versions)
    listing = sorted({version.ref.key: version.ref for version in bucket.versions}.values())
    findings = [*audit(engine, listing, FIRST_DAY), *deep_audit(store, engine, listing).findings]
    problems = [
        f"{finding.code}: {', '.join(finding.examples[:5])}" for finding in findings if not finding.is_informational
    ]
    with engine.connect() as actual_connection, expected.connect() as expected_connection:
        if content_checksum(actual_connection) != content_checksum(expected_connection):
            problems.append("twap_status differs from the run without faults")
        if differences := differing_orders(actual_connection):
            problems.append(f"{len(differences)} rows of twap_orders differ from their events")
    gets, gets_max = faults.requests["GET"], max_gets(bucket, faults, action_counts)
    if gets > gets_max:
        problems.append(f"{gets} GET requests, expected at most {gets_max}")
    assert_no_open_sessions(engine)
    return problems


def max_gets(bucket: SimulatedBucket, faults: StoreFaults, action_counts: Mapping[str, int]) -> int:
    """Return the largest acceptable number of GET requests of a soak.

    - A version is read at most twice, because at most two runs load concurrently.
    - A poisoned object is read by three attempts in each of two runs; a listing may be one step late.
    - A faulty response costs one more GET.
    - A run that is killed or loses its session reads its in-flight objects again.
    """
    interruptions = action_counts.get("workers killed", 0) + action_counts.get("backends terminated", 0)
    faulty_gets = sum(count for kind, count in faults.injected.items() if kind.startswith("GET"))
    return 2 * len(bucket.versions) + 8 * bucket.change_counts["objects poisoned"] + faulty_gets + 20 * interruptions
