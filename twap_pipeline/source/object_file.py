"""The temporary file of an object's bytes, and the errors of this host that are never an object's fault.

A full disk or a missing temporary folder ends the run: it must not count as a failed attempt of the object.
"""

import errno
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

from twap_pipeline.errors import LocalResourceError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

    _SpooledFile = tempfile.SpooledTemporaryFile[bytes]
else:
    _SpooledFile = tempfile.SpooledTemporaryFile

_ADVICE = {
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the limit of open files of this host",
    errno.ENOMEM: "free memory",
    errno.ENOSPC: "free disk space",
    errno.EDQUOT: "free disk space, or raise the disk quota",
}
"""Error number → advice, for errors that concern this host wherever they occur."""


@contextmanager
def _local_errors() -> Iterator[None]:
    """Translate every OSError within the block to `LocalResourceError`."""
    try:
        yield
    except OSError as error:
        _raise(error)


class ObjectFile(_SpooledFile):
    """A temporary file in memory up to ``max_size`` bytes, then in the temporary folder.

    Args:
        max_size: Bytes that stay in memory.
        checkpoint: Called before each write; raises an error if the load was cancelled.

    Raises:
        LocalResourceError: From every operation, if the operating system refuses it.
    """

    def __init__(self, max_size: int = 8 * 1024 * 1024, checkpoint: Callable[[], None] = lambda: None) -> None:
        super().__init__(max_size=max_size)
        self.bytes_written = 0
        """Bytes of all writes, repeated GET requests included."""
        self._checkpoint = checkpoint

    @_local_errors()
    def write(self, data: "ReadableBuffer") -> int:  # noqa: D102 - as in the base class
        self._checkpoint()
        count = super().write(data)
        self.bytes_written += count
        return count

    @_local_errors()
    def read(self, *size: int) -> bytes:  # noqa: D102 - as in the base class
        return super().read(*size)

    @_local_errors()
    def readinto(self, buffer: "WriteableBuffer") -> int:  # noqa: D102 - as in the base class
        return super().readinto(buffer)

    @_local_errors()
    def seek(self, *position: int) -> int:  # noqa: D102  # writes buffered bytes
        return super().seek(*position)

    @_local_errors()
    def truncate(self, size: int | None = None) -> int:  # noqa: D102 - as in the base class
        return super().truncate(size)

    @_local_errors()
    def __exit__(  # writes buffered bytes
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)


def raise_local_error(error: BaseException) -> None:
    """Raise `LocalResourceError` if an error, or one of its causes, is a lack of a resource of this host."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _ADVICE:
            _raise(cause)
        cause = cause.__cause__ or cause.__context__


def _raise(error: OSError) -> NoReturn:
    advice = _ADVICE.get(error.errno or 0, "create the folder, or set TMPDIR to a folder with free space")
    raise LocalResourceError(
        f"this host cannot store the bytes of an object: {error.strerror or error}; {_describe_folder()}; {advice}."
        " No object is at fault and no attempt is counted"
    ) from error


def _describe_folder() -> str:
    try:
        folder = tempfile.gettempdir()
    except OSError:
        return "no temporary folder is writable"
    try:
        return f"temporary folder {folder}: {shutil.disk_usage(folder).free:,} bytes free"
    except OSError as error:
        return f"temporary folder {folder}: {error.strerror}"
