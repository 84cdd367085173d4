"""Prints where the package ``alembic`` comes from when a module of ours is run from the checkout."""

import alembic

print(alembic.__file__)
