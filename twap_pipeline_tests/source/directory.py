"""Files of a directory, and what `LocalDirectory` lists and reads of them."""

import io
import os
from pathlib import Path

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.source.local import LocalDirectory

MODIFIED_NS = 1_790_254_800_123_456_789


def put(directory: Path, key: str, data: bytes = b"bytes", modified_ns: int = MODIFIED_NS) -> Path:
    path = directory / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, ns=(modified_ns, modified_ns))
    return path


def listing(directory: Path) -> list[ObjectRef]:
    return list(LocalDirectory(directory).list_objects())


def keys(directory: Path) -> list[str]:
    return [ref.key for ref in listing(directory)]


def fetch(directory: Path, ref: ObjectRef) -> bytes:
    into = io.BytesIO(b"longer content of an earlier attempt")
    into.seek(7)
    assert LocalDirectory(directory).fetch(ref, into) is False
    assert into.tell() == 0
    return into.read()
