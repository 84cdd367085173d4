"""Prints the path of the package ``alembic`` when Python runs a module of the checkout."""

import alembic

print(alembic.__file__)
