"""The Dagster resource ``object_store`` with a store that a benchmark made."""

from dataclasses import dataclass

from twap_pipeline.defs.resources import ObjectStoreResource
from twap_pipeline.domain.data_set import TWAP_STATUS, DataSet
from twap_pipeline.source.base import ObjectStore


@dataclass(frozen=True)
class GivenStoreResource(ObjectStoreResource):
    """The resource of the pipeline, except that every data set has the same given store."""

    store: ObjectStore

    def open(self, data_set: DataSet = TWAP_STATUS) -> ObjectStore:
        """Return the store."""
        return self.store
