"""Where the files beside the package are: migrations, Dagster's instance and workspace configuration.

In a checkout they lie at its root; in an installed package, in a folder of their own inside it.
"""

from pathlib import Path

from twap_pipeline.errors import ConfigurationError

_PACKAGE = Path(__file__).resolve().parent

IS_CHECKOUT = (_PACKAGE.parent / "workspace.yaml").is_file()
"""Whether the package runs from a checkout."""

ROOT = _PACKAGE.parent if IS_CHECKOUT else _PACKAGE / "_project"
"""The folder that holds the files."""


def project_file(name: str) -> Path:
    """Return the path of ``alembic.ini``, ``dagster.yaml`` or ``workspace.yaml``.

    Raises:
        ConfigurationError: It is not there: the installation is damaged.
    """
    path = ROOT / name
    if not path.is_file():
        raise ConfigurationError(f"{name} is missing beside {_PACKAGE}; reinstall twap-pipeline")
    return path
