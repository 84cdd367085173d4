"""PostgreSQL: engines, schema, ingest log, loading, orders, audit and reports; through SQLAlchemy and psycopg.

A folder is one subject. Statements of more than a few lines are named queries in ``.sql`` files next to their module.
Object stores, Dagster and HTTP do not belong here.
"""
