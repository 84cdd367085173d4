"""Checks a release tag against the version of the package, and prints its section of the changelog.

    python .ci/release_notes.py v0.2.0

Exits with status 1 and one line if the tag does not match the version, or the changelog has no section for it.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def release_notes(tag: str, pyproject: str, changelog: str) -> str:
    """Return the section of the tag's version.

    Raises:
        ValueError: The tag is not that of the version, or there is no section, or it is empty.
    """
    version = tomllib.loads(pyproject)["project"]["version"]
    if tag != f"v{version}":
        raise ValueError(f"the tag is {tag}, and pyproject.toml has the version {version}: tag v{version}")
    section = re.search(rf"^## \[{re.escape(version)}\][^\n]*\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if section is None or not section[1].strip():
        raise ValueError(f"CHANGELOG.md has no section '## [{version}] - DATE': move the entries of Unreleased there")
    return section[1].strip() + "\n"


def main() -> None:
    """Print the notes of the tag in the first argument."""
    files = (ROOT.joinpath(name).read_text("utf-8") for name in ("pyproject.toml", "CHANGELOG.md"))
    try:
        print(release_notes(sys.argv[1], *files), end="")
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
