"""Loads objects of a source into the database: plan, fetch, decode, write.

``source`` returns bytes and raw frames, ``domain`` normalizes them, ``storage`` writes them. When and for which day
objects are loaded is decided in ``defs`` and ``cli``.

* `plan`: compares a listing with the ingest log, on (key, ETag).
* `incremental_listing`: lists a store in slices.
* `fetch`: fetches the latest version of an object.
* `refusals`: decides whether refused GETs are failures of objects or of the store.
* `object_reader`: reads an object's bytes as normalized batches.
* `concurrency`: runs several loads at once, within limits.
* `load`: loads one object, or the objects of a day.
* `retry`: repeats a transaction after a transient failure.
* `audit`: compares listing, ingest log and row counts; `deep_audit`: compares the rows with the objects.
"""

import os

# Each object is decoded in its own thread; more threads of polars would compete with these and with PostgreSQL.
# polars reads the variable when it is imported, which is after this package. A value that the user sets is kept.
os.environ.setdefault("POLARS_MAX_THREADS", "1")
