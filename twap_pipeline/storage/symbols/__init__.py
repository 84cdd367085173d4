"""The names of spot pairs in PostgreSQL."""
