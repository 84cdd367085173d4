"""The one use case: which objects are still to be taken, and taking them, rows and ledger entry together.

Here the two adapters meet: ``source`` gives bytes and raw frames, ``domain`` makes them ours, ``storage`` keeps them.
When, and for which day, is decided above.

* `planning`: the listing against the ledger, on (key, etag).
* `fetching`: an object's bytes, of the version that is there now.
* `reading`: an object's bytes into normalized batches.
* `bounded_map`: several objects at once, in bounds.
* `loading`: one object, or a day of them, into the database.
* `retrying`: a transaction again, after a failure that passes.
* `audit`: whether listing, ledger and rows agree; `deep_audit`: whether the rows are what the objects say.
"""

import os

# Objects are made ready side by side, each by one thread; polars' own threads would only take turns with them and with
# PostgreSQL. It reads this when it is imported, which is not before this package is; whoever sets it has the say.
os.environ.setdefault("POLARS_MAX_THREADS", "1")
