"""Object stores and the parquet reader: list objects, fetch their bytes, decode them to polars DataFrames.

Nothing in this package imports ``storage``. The meaning of columns and values belongs in ``domain``.
"""
