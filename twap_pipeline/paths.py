"""Paths of the files outside of the package's code: migrations, and Dagster's instance and workspace configuration.

In a checkout they are in its root directory; in an installed package, in the directory ``_project`` of the package.
"""

from pathlib import Path

from twap_pipeline.errors import ConfigurationError

_PACKAGE = Path(__file__).resolve().parent

IS_CHECKOUT = (_PACKAGE.parent / "workspace.yaml").is_file()
"""Whether the package runs from a checkout."""

ROOT = _PACKAGE.parent if IS_CHECKOUT else _PACKAGE / "_project"
"""Directory of the files."""


def project_file(name: str) -> Path:
    """Return the path of ``alembic.ini``, ``dagster.yaml`` or ``workspace.yaml``.

    Raises:
        ConfigurationError: The file is missing, so the installation is incomplete.
    """
    path = ROOT / name
    if not path.is_file():
        raise ConfigurationError(f"{path} is missing: reinstall twap-pipeline")
    return path
