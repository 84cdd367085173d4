"""Every error that the pipeline raises on purpose.

Put new error types here. The code that detects an error raises it and writes its message: what failed, why, and what
to do. A message never contains a password, a key or a token.
"""

REASON_MAX_CHARACTERS = 2_000
"""Maximum length of an object's error. A library may quote a whole cell, and the ingest log stores the text."""


class TwapPipelineError(Exception):
    """Base of every error raised on purpose."""


class ConfigurationError(TwapPipelineError):
    """A setting has a value that is not valid."""


class DatabaseUnavailableError(TwapPipelineError):
    """PostgreSQL refused, failed or did not respond."""


class StatementTimeoutError(TwapPipelineError):
    """PostgreSQL cancelled a statement of a refresh, an audit or a data check."""


class EmbeddedDatabaseError(TwapPipelineError):
    """The local PostgreSQL could not be set up, started or stopped."""


class SchemaRevisionError(TwapPipelineError):
    """The database's Alembic revision is not the one that this code needs."""


class TablePartitionError(TwapPipelineError):
    """The table cannot be partitioned by month, or one of its months cannot be archived or restored."""


class BudgetExceededError(TwapPipelineError):
    """The run would read more bytes than its budget."""


class ExportError(TwapPipelineError):
    """An order cannot be written in the requested format, or the output file cannot be written."""


class LoadCancelledError(TwapPipelineError):
    """The load of an object was cancelled: the load of another object failed, or the run was interrupted."""


class LocalResourceError(TwapPipelineError):
    """This host lacks a resource: disk space, memory, file descriptors, or a temporary folder."""


class SourceError(TwapPipelineError):
    """The object store, or one object of it, failed."""


class SourceUnavailableError(SourceError):
    """The object store failed after the bounded retries."""


class SourceAccessError(SourceError):
    """The object store refused the request: credentials, permission or requester-pays."""


class SourceNotFoundError(SourceError):
    """The bucket, prefix or directory does not exist."""


class ObjectError(SourceError):
    """One object failed; the load of other objects can continue.

    Args:
        key: The object's key, as the store lists it.
        reason: What is wrong with the object, in one sentence. It is put on one line and cut to
            `REASON_MAX_CHARACTERS`; characters that PostgreSQL cannot store are escaped.
    """

    def __init__(self, key: str, reason: str) -> None:
        if len(reason) > REASON_MAX_CHARACTERS:
            reason = f"{reason[:REASON_MAX_CHARACTERS]} ... ({len(reason)} characters)"
        reason = " ".join(filter(None, map(str.strip, reason.splitlines())))
        reason = reason.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
        super().__init__(f"{key}: {reason}")
        self.key = key
        self.reason = reason


class ObjectGoneError(ObjectError):
    """The object was deleted between listing and reading."""


class ObjectChangedError(ObjectError):
    """The object was overwritten between listing and reading."""


class ObjectCorruptError(ObjectError):
    """The received bytes differ from the stored bytes."""


class ObjectRefusedError(ObjectError):
    """The store refused the GET of this object. Several in a row are a failure of the store: see `RefusalStreak`."""


class ObjectArchivedError(ObjectError):
    """The object is in an archive storage class and must be restored before it can be read."""


class ObjectInvalidError(ObjectError):
    """The object's bytes are intact, but cannot be read as TWAP statuses without loss."""
