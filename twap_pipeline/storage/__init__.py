"""Where rows and the ledger live: PostgreSQL through SQLAlchemy and psycopg. Knows nothing of object stores."""
