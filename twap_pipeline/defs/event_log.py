"""Events that we write to Dagster's log ourselves, where the framework has no word for what happened.

Two cases: a source's day changed (an observation, which makes what hangs on it stale, then a materialization, which
makes the partition green), and a run of many days in which only some succeeded.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_TAG,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)

from twap_pipeline.domain.object_ref import ObjectRef, fingerprint


def record_source_days(
    instance: dg.DagsterInstance,
    key: dg.AssetKey,
    url: str,
    days: Mapping[date, Sequence[ObjectRef]],
    *,
    limit: int = 10_000,
) -> list[str]:
    """Record each day of the source whose set of (key, ETag) is not the one recorded last; return those days.

    Args:
        instance: Where to record.
        key: The source asset.
        url: The source, for people.
        days: UTC day → its objects.
        limit: Record no more days than this; the others are found changed again next time.
    """
    versions = {day.isoformat(): fingerprint(refs) for day, refs in days.items()}
    known = _latest_tags(instance, key, list(versions))
    changed = [day for day, version in versions.items() if known.get(day, {}).get(DATA_VERSION_TAG) != version]
    for day in changed[:limit]:
        refs = days[date.fromisoformat(day)]
        metadata: dict[str, dg.MetadataValue[Any]] = {
            "objects": dg.MetadataValue.int(len(refs)),
            "bytes": dg.MetadataValue.int(sum(ref.size_bytes for ref in refs)),
            "dagster/uri": dg.MetadataValue.text(url),
        }
        for event in (dg.AssetObservation, dg.AssetMaterialization):
            instance.report_runless_asset_event(
                event(key, partition=day, metadata=metadata, tags={DATA_VERSION_TAG: versions[day]})
            )
    return changed[:limit]


def provenance_tags(
    instance: dg.DagsterInstance, source: dg.AssetKey, days: Sequence[str], code_version: str
) -> dict[str, dict[str, str]]:
    """Return the tags that tell Dagster from which state of the source each day was made.

    Without them a day that we record ourselves would never be shown as stale.
    """
    known = _latest_tags(instance, source, days)
    pointers = instance.event_log_storage.get_latest_storage_id_by_partition(
        source, dg.DagsterEventType.ASSET_MATERIALIZATION, set(days)
    )
    tags: dict[str, dict[str, str]] = {}
    for day in days:
        version = known.get(day, {}).get(DATA_VERSION_TAG, "INITIAL")
        tags[day] = {
            CODE_VERSION_TAG: code_version,
            get_input_data_version_tag(source): version,
            get_input_event_pointer_tag(source): str(pointers.get(day, "NULL")),
            DATA_VERSION_TAG: f"{code_version}-{version}",
        }
    return tags


def _latest_tags(
    instance: dg.DagsterInstance, key: dg.AssetKey, days: Sequence[str]
) -> Mapping[str, Mapping[str, str]]:
    return instance.event_log_storage.get_latest_tags_by_partition(
        key, dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG], list(days)
    )
