"""Derives ``twap_orders`` from ``twap_status``."""
