"""Connections to PostgreSQL: URLs, the synchronous and the asynchronous engine, and the API's database role."""
