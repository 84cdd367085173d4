"""The fault matrix: which tests prove each row of ``fault_rows.csv``, their negative controls, and their results.

    python -m twap_pipeline_tests.fault_matrix
    python -m twap_pipeline_tests.fault_matrix --report report.xml

Prints a Markdown table. A test proves a row by the marker ``@pytest.mark.fault("D1")``; a negative control has
``@pytest.mark.fault("D1", control=True)``. ``pytest --junit-xml=report.xml`` writes the rows of each test as properties
into its report. With ``--report`` the command reads tests and results from there and does not collect the tests.

Defined here: rows, their tests, the table, and the pytest hook that reads the markers. The broken builds of the
controls are in ``mutants``.
"""

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import pytest

from twap_pipeline.paths import ROOT

LETTERS = {
    "D": "discovery of objects",
    "S": "object store",
    "F": "file",
    "V": "values",
    "W": "writing",
    "R": "orchestration",
    "M": "migrations",
    "A": "API",
    "X": "security and cost",
}
"""Subject of each group of rows, by the first letter of the row."""

TESTS_KEY = pytest.StashKey[list["FaultTest"]]()
"""Where the pytest hook stores the tests with a ``fault`` marker, before pytest deselects any."""

_ROW_PROPERTY = "fault"
_CONTROL_PROPERTY = "fault_control"


@dataclass(frozen=True)
class FaultTest:
    """A test function and the rows of its marker.

    Args:
        name: Module and function, joined by ``::``.
        rows: Ids of rows.
        is_control: Whether the function is a negative control of these rows.
    """

    name: str
    rows: tuple[str, ...]
    is_control: bool = False


@dataclass
class Row:
    """A row of the matrix and its test functions.

    Args:
        id: Letter and number.
        fault: What goes wrong.
        starred: Whether the row needs a negative control.
        tests: Names of its tests.
        controls: Names of its negative controls.
    """

    id: str
    fault: str
    starred: bool
    tests: list[str] = field(default_factory=list)
    controls: list[str] = field(default_factory=list)


class FaultMarkers:
    """Pytest plugin: stores the tests with a ``fault`` marker and copies their rows into the JUnit report."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Read the markers of all collected tests."""
        for item in items:
            for test in _read_markers(item):
                key = _CONTROL_PROPERTY if test.is_control else _ROW_PROPERTY
                item.user_properties += [(key, row) for row in test.rows]
        config.stash[TESTS_KEY] = list(dict.fromkeys(test for item in items for test in _read_markers(item)))


def _read_markers(item: pytest.Item) -> list[FaultTest]:
    name = f"{item.nodeid.partition('::')[0]}::{getattr(item, 'originalname', None) or item.name}"
    return [
        FaultTest(name, tuple(marker.args), bool(marker.kwargs.get("control", False)))
        for marker in item.iter_markers("fault")
    ]


def collect_tests() -> list[FaultTest]:
    """Return the tests with a ``fault`` marker, collected by pytest.

    Raises:
        SystemExit: pytest failed to collect the tests.
    """
    collector = _Collector()
    options = ["--collect-only", "-o", "addopts=", "-p", "no:terminal", "-p", "no:cacheprovider"]
    status = pytest.main([*options, f"--rootdir={ROOT}", str(Path(__file__).parent)], plugins=[collector])
    if status != pytest.ExitCode.OK:
        raise SystemExit("pytest could not collect the tests: run `pytest --collect-only` for the error")
    return collector.tests


class _Collector:
    """Pytest plugin that reads the markers of all collected tests.

    It does not use the stash: with ``python -m`` this module is loaded twice, and each copy has its own stash key.
    """

    def __init__(self) -> None:
        self.tests: list[FaultTest] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.tests = list(dict.fromkeys(test for item in session.items for test in _read_markers(item)))


def read_rows() -> list[Row]:
    """Return the rows of ``fault_rows.csv`` without their tests."""
    with files("twap_pipeline_tests").joinpath("fault_rows.csv").open(encoding="utf-8") as file:
        return [Row(line["id"], line["fault"], line["starred"] == "yes") for line in csv.DictReader(file)]


def assign(rows: Sequence[Row], tests: Iterable[FaultTest]) -> list[str]:
    """Add the tests to their rows and return one message for each gap of the matrix."""
    rows_by_id = {row.id: row for row in rows}
    gaps = []
    for test in tests:
        for row_id in test.rows:
            if (row := rows_by_id.get(row_id)) is None:
                gaps.append(f"{test.name} is marked with row {row_id}, which does not exist")
            else:
                (row.controls if test.is_control else row.tests).append(test.name)
    gaps += [f"{row.id} has no test: {row.fault}" for row in rows if not row.tests]
    gaps += [f"{row.id} has no negative control: {row.fault}" for row in rows if row.starred and not row.controls]
    return gaps


def read_report(path: Path) -> tuple[list[FaultTest], dict[str, Counter[str]]]:
    """Read a JUnit report of pytest.

    Returns:
        The tests with a ``fault`` marker, and by test name how many of its cases passed, failed and were skipped.
    """
    tests: dict[FaultTest, None] = {}
    results: dict[str, Counter[str]] = {}
    for case in ElementTree.parse(path).iter("testcase"):
        name = f"{case.attrib['classname']}::{case.attrib['name'].partition('[')[0]}"
        properties = [(item.attrib["name"], item.attrib["value"]) for item in case.iter("property")]
        for key, is_control in ((_ROW_PROPERTY, False), (_CONTROL_PROPERTY, True)):
            if rows := tuple(value for property_key, value in properties if property_key == key):
                tests[FaultTest(name, rows, is_control)] = None
        results.setdefault(name, Counter())[_result(case)] += 1
    return list(tests), results


def _result(case: ElementTree.Element) -> str:
    tags = {child.tag for child in case}
    return "failed" if tags & {"failure", "error"} else "skipped" if "skipped" in tags else "passed"


def format_table(rows: Iterable[Row], results: dict[str, Counter[str]] | None = None) -> str:
    """Return the matrix as a Markdown table; without results the last column is ``not run``."""
    lines = ["| row | fault | tests | negative controls | result |", "|---|---|---|---|---|"]
    for row in rows:
        star = "★" if row.starred else ""
        result = "not run" if results is None else _sum_results(row, results)
        cells = (f"{row.id}{star}", row.fault, _functions(row.tests), _functions(row.controls), result)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _functions(names: Iterable[str]) -> str:
    return "<br>".join(name.rpartition("::")[2] for name in names) or "-"


def _sum_results(row: Row, results: dict[str, Counter[str]]) -> str:
    total: Counter[str] = Counter()
    for name in (*row.tests, *row.controls):
        total += results[name]
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(total.items())) or "-"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; return 1 if the matrix has a gap, or if the report contains a failed test of a row."""
    parser = argparse.ArgumentParser(description="Print the fault matrix with its tests, controls and results.")
    parser.add_argument("--report", type=Path, help="JUnit report of `pytest --junit-xml`")
    report: Path | None = parser.parse_args(arguments).report
    tests, results = (collect_tests(), None) if report is None else read_report(report)
    rows = read_rows()
    problems = assign(rows, tests)
    problems += [f"{test.name} failed" for test in tests if results and results[test.name]["failed"]]
    print(", ".join(f"{letter} {subject}" for letter, subject in LETTERS.items()), end="\n\n")
    print(format_table(rows, results))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
