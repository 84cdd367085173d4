"""How the assets appear in Dagster's catalog: keys, group and owners.

All asset keys are built here, because a deployment can put a prefix before them. What an asset computes belongs to
`assets` and `orders`.
"""

from dataclasses import dataclass

import dagster as dg


@dataclass(frozen=True)
class AssetCatalog:
    """The keys, the group and the owners of the assets.

    Args:
        key_prefix: Components before the name of each asset key.
        group: Group of all assets.
        owners: Email addresses, or names such as ``team:finance``.
    """

    key_prefix: tuple[str, ...] = ()
    group: str = "twap"
    owners: tuple[str, ...] = ()

    def key(self, name: str) -> dg.AssetKey:
        """Return the key of the asset with this name. Assets of tables and views have the name of the table or view."""
        return dg.AssetKey([*self.key_prefix, name])

    @property
    def status_key(self) -> dg.AssetKey:
        """The table of status events."""
        return self.key("twap_status")

    @property
    def orders_key(self) -> dg.AssetKey:
        """The table of orders."""
        return self.key("twap_orders")

    @property
    def daily_stats_key(self) -> dg.AssetKey:
        """The view of daily figures."""
        return self.key("twap_daily_stats")
