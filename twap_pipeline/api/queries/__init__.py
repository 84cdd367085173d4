"""Statements of the API, one module per subject. Each function returns a statement; none executes one.

Fixed statements are in the ``.sql`` file of the same name. Statements whose filters vary use SQLAlchemy Core.
PostgreSQL writes rows as JSON text, so decimals keep every digit and raw payloads every byte. Put HTTP parameters and
response models elsewhere in `api`.
"""
