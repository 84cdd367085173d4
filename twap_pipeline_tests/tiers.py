"""The tier of each test: ``unit``, ``integration``, ``dagster``, ``crash`` or ``browser``, exactly one.

An explicit tier marker on a test or module wins. Every other test gets its tier from its path and its fixtures. Add a
rule here when a file or a fixture belongs to a tier; mark only what no rule can describe.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

TIERS = ("unit", "integration", "dagster", "crash", "browser")


_TIER_BY_PATH = {
    "test_browser.py": "browser",
    "test_celery.py": "crash",
    "test_crashes.py": "crash",
    "test_dagster_crashes.py": "crash",
    "test_end_to_end.py": "dagster",
    "defs": "dagster",
}
_TIER_BY_FIXTURE = {"page": "browser", "web": "dagster", "instance": "dagster", "recorded_command": "dagster"}
_SERVER_FIXTURES = frozenset({"server_url", "s3_of_session"})
_NEVER_UNIT = frozenset({"api", "cli", "defs", "embedded", "sample", "test_docs.py"})
"""Folders and files whose import or whose tests take seconds."""
_SERIAL_FILES = frozenset(  # their tests start many processes: they run one after another on one worker
    {"test_browser.py", "test_celery.py", "test_crashes.py", "test_dagster_crashes.py", "test_end_to_end.py"}
)


def choose_tier(path: str, explicit: Sequence[str] = (), fixtures: Iterable[str] = ()) -> str:
    """Return the tier of a test.

    Args:
        path: Path of its file, relative to the root of the tests.
        explicit: Tier markers of the test, its class and its module.
        fixtures: Names of all its fixtures, direct and indirect.

    Raises:
        ValueError: The test has two tier markers, or is marked ``unit`` although it starts a server or its folder
            takes seconds to import.
    """
    if len(explicit) > 1:
        raise ValueError(f"has the tiers {' and '.join(explicit)}: keep one marker")
    names = frozenset(fixtures)
    parts = PurePosixPath(path).parts
    if explicit:
        if explicit[0] == "unit" and (servers := sorted(names & _SERVER_FIXTURES)):
            raise ValueError(f"is marked unit but starts a server (fixture {servers[0]}): remove the marker")
        if explicit[0] == "unit" and (slow := _NEVER_UNIT & set(parts)):
            raise ValueError(f"is marked unit but {min(slow)} takes seconds to import or to run: remove the marker")
        return explicit[0]
    by_path = (_TIER_BY_PATH[part] for part in parts if part in _TIER_BY_PATH)
    by_fixture = (tier for fixture, tier in _TIER_BY_FIXTURE.items() if fixture in names)
    return next(iter((*by_path, *by_fixture)), "integration")


class _Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist is partly typed
    """Each test is a unit of distribution, except the tests of `_SERIAL_FILES`, which are one: the largest goes first.

    ``--dist loadgroup`` would be the standard way. xdist 3.8 sends node IDs without the group with pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = PurePosixPath(nodeid.partition("::")[0]).name
        return "serial" if file in _SERIAL_FILES else nodeid


class Tiers:
    """Pytest plugin: adds its tier marker to each test, and distributes the tests over the xdist workers."""

    @pytest.hookimpl(optionalhook=True)  # of pytest-xdist
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Producer) -> LoadScopeScheduling:
        """Distribute single tests over the workers, and the serial tests, first, to one of them."""
        return _Scheduling(config, log)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Mark all collected tests; a test with a wrong tier marker ends the session."""
        for item in items:
            explicit = [tier for tier in TIERS if item.get_closest_marker(tier)]
            try:
                tier = choose_tier(item.nodeid.partition("::")[0], explicit, fixture_names(item))
            except ValueError as error:
                raise pytest.UsageError(f"{item.nodeid} {error}") from None
            if not explicit:
                item.add_marker(tier)


def fixture_names(item: pytest.Item) -> frozenset[str]:
    """Return the fixtures of a test without its parameters, which pytest lists with them."""
    if not isinstance(item, pytest.Function):
        return frozenset()
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return frozenset(item.fixturenames) - parameters.keys()


def has_no_unit_test(path: Path) -> bool:
    """Return whether a path is a folder or a test module without a test of tier ``unit``."""
    if path.name in _NEVER_UNIT:
        return True
    return path.name.startswith("test_") and path.suffix == ".py" and "mark.unit" not in path.read_text("utf-8")
