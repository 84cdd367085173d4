"""Counts, checks and checksums of the stored rows, their verification against the objects, and repairs."""
