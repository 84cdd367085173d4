"""The database schema: declared tables, check of the revision, upgrade under a lock, and creation."""
