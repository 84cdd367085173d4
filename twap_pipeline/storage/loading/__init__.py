"""Writes the rows of objects into ``twap_status``: COPY text, the choice of the write path, the merge."""
