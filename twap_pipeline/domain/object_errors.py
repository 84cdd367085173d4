"""Translates exceptions of libraries, raised while one object is read, into errors of that object.

Whatever pyarrow, polars or Python raise on the bytes of one object must fail that object only. Use `object_errors`
around code that computes on one object and performs no other I/O. Errors of PostgreSQL belong in `storage.loading`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl

from twap_pipeline.errors import ObjectInvalidError, TwapPipelineError


@contextmanager
def object_errors(key: str, problem: str) -> Iterator[None]:
    """Raise `ObjectInvalidError` for an exception within the block; its reason starts with ``problem``.

    The errors of `errors`, a lack of memory and errors of the operating system are raised unchanged: these are not
    faults of the object.
    """
    try:
        yield
    except TwapPipelineError:
        raise
    except (Exception, pl.exceptions.PanicException) as error:  # PanicException is not an Exception
        if type(error) is MemoryError or (isinstance(error, OSError) and error.errno is not None):
            raise  # pyarrow raises a subclass of MemoryError and an OSError without number for malformed bytes
        raise ObjectInvalidError(key, f"{problem}: {type(error).__name__}: {error}") from error
