"""Object store of a local directory in the layout of the bucket: for the sample, tests and offline copies.

A file's path below the directory is its key. Its modification time is the LastModified. Modification time and size
form the ETag, so an overwritten file is a new version.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.errors import (
    ObjectChangedError,
    ObjectCorruptError,
    ObjectGoneError,
    ObjectRefusedError,
    SourceAccessError,
    SourceNotFoundError,
)
from twap_pipeline.source.base import SOURCE_SETTING, invalid_source_url
from twap_pipeline.source.object_file import raise_local_error
from twap_pipeline.source.selection import EVERY_NAME, SkippedObjects, select_objects

_GONE = {errno.ENOENT, errno.EISDIR, errno.ENOTDIR}


class LocalDirectory:
    """Object store whose objects are the files below a directory; arguments as of `open_store`."""

    key_prefix = ""

    def __init__(self, directory: Path, object_pattern: str = EVERY_NAME, setting: str = SOURCE_SETTING) -> None:
        self._directory = directory
        self._object_pattern = object_pattern
        self._setting = setting

    @property
    def url(self) -> str:
        """The directory as a ``file://`` URL."""
        return self._directory.absolute().as_uri() + "/"

    def uri(self, key: str) -> str:
        """Return the file's ``file://`` URI."""
        return (self._directory.absolute() / key).as_uri()

    def list_objects(
        self, *, below: str = "", after: str = "", skipped: SkippedObjects | None = None
    ) -> Iterator[ObjectRef]:
        """Yield the files in key order; see `ObjectStore.list_objects`."""
        self._require_directory()
        refs = sorted(ref for ref in self._walk(str(self._directory), below) if ref.key > after)
        yield from select_objects(refs, prefix="", name_pattern=self._object_pattern, skipped=skipped)

    def list_folders(self, below: str) -> Iterator[str]:
        """Yield the folders directly below a folder; none if that folder does not exist."""
        self._require_directory()
        try:
            with os.scandir(self._directory / below) as entries:
                names = sorted(entry.name for entry in entries if entry.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise_local_error(error)
            raise SourceAccessError(f"cannot list {self._directory / below}: {error.strerror}") from error
        yield from (f"{below}{name}/" for name in names)

    def _require_directory(self) -> None:
        if not self._directory.is_dir():
            raise SourceNotFoundError(f"directory {self._directory} does not exist; correct {self._setting}")

    def _walk(self, folder: str, below: str, parents: frozenset[tuple[int, int]] = frozenset()) -> Iterator[ObjectRef]:
        """Yield the files below a folder whose keys start with ``below``; folders without such keys are not read.

        A symbolic link to a parent folder is skipped.
        """
        try:
            here = Path(folder).stat()
            inode = (here.st_dev, here.st_ino)
            if inode in parents:
                return
            with os.scandir(folder) as entries:
                for entry in entries:
                    key = os.path.relpath(entry.path, self._directory).replace(os.sep, "/")
                    is_below = key.startswith(below)
                    if (is_below or below.startswith(f"{key}/")) and entry.is_dir():
                        yield from self._walk(entry.path, below, parents | {inode})
                    elif is_below and entry.is_file():
                        yield _ref(key, entry.stat())
        except OSError as error:
            raise_local_error(error)
            raise SourceAccessError(f"cannot list {folder}: {error.strerror}: {error.filename}") from error

    def fetch(self, ref: ObjectRef, into: IO[bytes]) -> bool:
        """Copy the file; raise if it is not the listed version. Returns False: a file has no checksum."""
        try:
            with (self._directory / ref.key).open("rb") as file:
                into.seek(0)
                into.truncate()
                shutil.copyfileobj(file, into, 1 << 20)
                current = _ref(ref.key, os.fstat(file.fileno()))
        except OSError as error:  # of the source file: `into` raises LocalResourceError
            raise_local_error(error)
            self._require_directory()
            if error.errno in _GONE:
                raise ObjectGoneError(ref.key, "the file was deleted after it was listed") from error
            reason = f"cannot read {self._directory / ref.key}: {error.strerror}"
            if isinstance(error, PermissionError):
                raise ObjectRefusedError(ref.key, f"{reason}; give this process's user read permission") from error
            raise ObjectCorruptError(ref.key, reason) from error
        if current.etag != ref.etag:
            raise ObjectChangedError(ref.key, "the file was overwritten after it was listed; list again")
        into.seek(0)
        return False


def parse_file_url(url: str, setting: str = SOURCE_SETTING) -> Path:
    """Return the directory of ``file:///absolute/directory/``.

    Raises:
        ConfigurationError: The URL has another form.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise invalid_source_url(url, setting) from error
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise invalid_source_url(url, setting)
    return Path(unquote(parts.path))


def _ref(key: str, stat: os.stat_result) -> ObjectRef:
    modified = datetime.fromtimestamp(stat.st_mtime_ns // 1_000 / 1_000_000, UTC)
    return ObjectRef(key, f"{stat.st_mtime_ns:x}-{stat.st_size:x}", modified, stat.st_size)
