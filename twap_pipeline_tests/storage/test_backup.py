"""The scripts of ``deploy/backup``: dump, checksum, restore into a new database, and ingestion of what is missing."""

import os
import subprocess
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL, Engine

from twap_pipeline.embedded.binaries import find_installation
from twap_pipeline.ingest.audit_runner import run_audit
from twap_pipeline.paths import ROOT
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.schema.revision_gate import require_head
from twap_pipeline_tests.api.serving import ended_order
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.invariants import digest, ingest_everything
from twap_pipeline_tests.storage.catalog import connected, describe, execute, in_clear

pytestmark = pytest.mark.integration

PROGRAMS = find_installation() / "bin"


def run_script(name: str, *arguments: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [ROOT / "deploy" / "backup" / name, *arguments],
        env={"PATH": f"{PROGRAMS}:{os.defpath}", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def back_up(database: URL, directory: Path) -> Path:
    """Return the only dump."""
    done = run_script("backup.sh", directory, DATABASE_URL=in_clear(database.set(drivername="postgresql+psycopg")))
    assert (done.returncode, done.stderr) == (0, "")
    return Path(done.stdout.strip())


def test_restored_older_backup_is_completed_by_ingestion(
    engine: Engine, database: URL, bucket: Bucket, tmp_path: Path
) -> None:
    """After the backup, objects are added and one is replaced: the restored database ends with the same hash."""
    store = LocalDirectory(bucket.directory)
    bucket.put("hourly/2025/08/20/12/a.parquet", ended_order(1))
    bucket.put("hourly/2025/08/20/12/b.parquet", [event(2, executed="1")])
    ingest_everything(store, engine)
    dump = back_up(database, tmp_path)
    bucket.put("hourly/2025/08/20/12/b.parquet", [event(2, executed="3"), event(3)], hours=1)
    bucket.put("hourly/2025/08/21/12/c.parquet", ended_order(4), hours=30)
    ingest_everything(store, engine)

    new = database.set(database=f"restored_{database.database}")
    done = run_script("restore.sh", dump, in_clear(new))

    assert (done.returncode, done.stderr) == (0, "")
    with connected(new) as restored:
        assert require_head(restored).at_head
        assert describe(new) == describe(database)
        assert digest(restored) != digest(engine)
        assert len(ingest_everything(store, restored)) == 2
        assert digest(restored) == digest(engine)
        assert not run_audit(store, restored, since=DAY, deep=True).has_errors


def test_both_databases_are_dumped_without_leftovers(database: URL, tmp_path: Path) -> None:
    url = in_clear(database)
    done = run_script("backup.sh", tmp_path, DATABASE_URL=url, DAGSTER_POSTGRES_URL=url.replace("://", "+psycopg2://"))
    broken = run_script("backup.sh", tmp_path, DATABASE_URL=url.replace(str(database.database), "missing"))

    names = [path.name.partition("-")[0] for path in sorted(tmp_path.iterdir())]
    assert (done.returncode, names) == (0, ["dagster", "dagster", "twap", "twap"])
    assert broken.returncode == 1
    assert str(database.password) not in done.stdout + broken.stderr
    assert {oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == {"0o600"}


def test_restore_refuses_damaged_dump_and_used_database(database: URL, tmp_path: Path) -> None:
    dump = back_up(database, tmp_path)
    before = describe(database)

    used = run_script("restore.sh", dump, in_clear(database))
    content = bytearray(dump.read_bytes())
    content[len(content) // 2] ^= 1
    dump.write_bytes(content)
    damaged = run_script("restore.sh", dump, in_clear(database.set(database="never_created")))

    assert (used.returncode, describe(database)) == (1, before)
    assert "tables: restore into a new database" in used.stderr
    assert damaged.returncode == 1
    assert "differs from its checksum file" in damaged.stderr
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(in_clear(database.set(database="never_created")))


def test_password_with_every_character_connects(database: URL, tmp_path: Path) -> None:
    role = f"backup_{database.database}"
    execute(database, f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'p@s/s:%#?é'")

    back_up(database.set(username=role, password="p@s/s:%#?é"), tmp_path)
