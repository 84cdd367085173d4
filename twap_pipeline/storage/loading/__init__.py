"""Writes one object's rows into ``twap_status``."""
