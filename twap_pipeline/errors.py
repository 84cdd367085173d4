"""Every error that the pipeline raises on purpose, and whether trying again can help.

The tree::

    TwapPipelineError
    ├── ConfigurationError          a setting is wrong; permanent until somebody changes it
    ├── DatabaseUnavailableError    PostgreSQL does not answer; transient
    ├── EmbeddedDatabaseError       the local PostgreSQL could not be set up or started
    ├── SchemaRevisionError         the database is not at this code's Alembic head
    ├── BudgetExceededError         the run would read more bytes than it may
    ├── ExportError                 an order cannot be told in the form that was asked for
    └── SourceError                 the object store, or one object of it
        ├── SourceUnavailableError  the store failed after bounded retries; transient
        ├── SourceAccessError       refused: credentials, permission, requester-pays
        ├── SourceNotFoundError     no such bucket, prefix or directory
        └── ObjectError             one object; names its key
            ├── ObjectGoneError     deleted between listing and reading
            ├── ObjectChangedError  overwritten between listing and reading; transient: list again
            ├── ObjectCorruptError  bytes differ from the store's digest, or length; transient
            └── ObjectInvalidError  not parquet, or its columns cannot be read without loss

Here belong error types and their messages' shape. What decides that an error occurred lives where it is found.
A message says what failed, why, and what to do; it never carries a password, a key or a token.
"""

from typing import ClassVar


class TwapPipelineError(Exception):
    """Base of every error raised on purpose; ``transient`` tells whether trying again can help."""

    transient: ClassVar[bool] = False


class ConfigurationError(TwapPipelineError):
    """A setting has a value that cannot work."""


class DatabaseUnavailableError(TwapPipelineError):
    """PostgreSQL refused or did not answer."""

    transient = True


class EmbeddedDatabaseError(TwapPipelineError):
    """The local PostgreSQL could not be set up, started or stopped."""


class SchemaRevisionError(TwapPipelineError):
    """The database's Alembic revision is not the one that this code needs."""


class BudgetExceededError(TwapPipelineError):
    """The work asked for exceeds the stated budget."""


class ExportError(TwapPipelineError):
    """An order cannot be told in the form that was asked for."""


class SourceError(TwapPipelineError):
    """The object store, or one object of it, failed."""


class SourceUnavailableError(SourceError):
    """The object store kept failing after the bounded retries."""

    transient = True


class SourceAccessError(SourceError):
    """The object store refused the request: credentials, permission or requester-pays."""


class SourceNotFoundError(SourceError):
    """The bucket, prefix or directory does not exist."""


class ObjectError(SourceError):
    """One object failed; the others can go on.

    Args:
        key: The object's key, as the store lists it.
        reason: What is wrong with it, in one sentence.
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key
        self.reason = reason


class ObjectGoneError(ObjectError):
    """The object was deleted between listing and reading."""


class ObjectChangedError(ObjectError):
    """The object was overwritten between listing and reading."""

    transient = True


class ObjectCorruptError(ObjectError):
    """The bytes that arrived are not the bytes that the store holds."""

    transient = True


class ObjectInvalidError(ObjectError):
    """The object's bytes are what the store holds, but cannot be read as TWAP statuses without loss."""
