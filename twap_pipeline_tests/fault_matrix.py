"""The fault matrix: each row's tests, its negative control and, from a report, how they went.

    python -m twap_pipeline_tests.fault_matrix
    python -m twap_pipeline_tests.fault_matrix --report report.xml

Prints a Markdown table of the rows of ``fault_rows.csv`` and ends with status 1 if a row has no test, a starred row has
no control, or a test names a row that does not exist. A test belongs to a row by its name: ``test_D1_…``, a control is
``test_D1_control_…``. The report is what ``pytest --junit-xml=report.xml`` wrote.
"""

import argparse
import csv
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import pytest

from twap_pipeline.paths import ROOT

_NAME = re.compile(r"^test_(?P<rows>(?:[A-Z]\d+_)+)(?P<control>control_)?(?P<words>\w+)")
_API = "A"


@dataclass
class Row:
    """A row of the matrix and the functions that show it.

    Args:
        id: Its letter and number.
        fault: What goes wrong.
        starred: Whether it needs a negative control.
        tests: Names of its test functions.
        controls: Names of its controls.
    """

    id: str
    fault: str
    starred: bool
    tests: list[str] = field(default_factory=list)
    controls: list[str] = field(default_factory=list)


class _Collector:
    """Takes the names that pytest collects."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Keep the name of every test function once."""
        functions = (item.originalname for item in session.items if isinstance(item, pytest.Function))
        self.names = sorted({name for name in functions if name})


def collected_names() -> list[str]:
    """Return the names of all test functions."""
    collector = _Collector()
    arguments = [
        "--collect-only",
        "-o",
        "addopts=",
        "-p",
        "no:terminal",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(ROOT),
    ]
    status = pytest.main([*arguments, str(Path(__file__).parent)], plugins=[collector])
    if status != pytest.ExitCode.OK:
        raise SystemExit("pytest could not collect the tests: run `pytest --collect-only`")
    return collector.names


def read_rows() -> list[Row]:
    """Return the rows without their tests."""
    with files("twap_pipeline_tests").joinpath("fault_rows.csv").open(encoding="utf-8") as file:
        return [Row(said["id"], said["fault"], said["starred"] == "yes") for said in csv.DictReader(file)]


def assign(rows: Sequence[Row], names: Iterable[str]) -> list[str]:
    """Give each row its tests, and return what is wrong with the matrix as a whole."""
    by_id = {row.id: row for row in rows}
    faults = []
    for name in names:
        if (found := _NAME.match(name)) is None:
            continue
        for identity in found["rows"].split("_")[:-1]:
            if identity not in by_id:
                faults.append(f"{name} names a row {identity} that does not exist")
            elif found["control"]:
                by_id[identity].controls.append(name)
            else:
                by_id[identity].tests.append(name)
    api_begun = any(row.tests for row in rows if row.id.startswith(_API))
    wanted = [row for row in rows if api_begun or not row.id.startswith(_API)]
    faults += [f"{row.id} has no test: {row.fault}" for row in wanted if not row.tests]
    faults += [f"{row.id} has no negative control: {row.fault}" for row in wanted if row.starred and not row.controls]
    return faults


def read_report(path: Path) -> dict[str, Counter[str]]:
    """Return test function → how often it passed, failed and was skipped, from pytest's JUnit XML."""
    outcomes: dict[str, Counter[str]] = {}
    for case in ElementTree.parse(path).iter("testcase"):
        name = case.attrib["name"].partition("[")[0]
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        outcomes.setdefault(name, Counter())[outcome] += 1
    return outcomes


def table(rows: Iterable[Row], outcomes: Mapping[str, Counter[str]] | None = None) -> str:
    """Return the matrix as a Markdown table."""
    lines = ["| row | fault | shown by | negative control | result |", "|---|---|---|---|---|"]
    for row in rows:
        star = "★" if row.starred else ""
        cells = (f"{row.id}{star}", row.fault, _words(row.tests), _words(row.controls), _result(row, outcomes))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _words(names: Iterable[str]) -> str:
    found = (match for match in map(_NAME.match, names) if match)
    return "<br>".join(match["words"].replace("_", " ") for match in found) or "-"


def _result(row: Row, outcomes: Mapping[str, Counter[str]] | None) -> str:
    if outcomes is None:
        return "not run"
    total: Counter[str] = Counter()
    for name in (*row.tests, *row.controls):
        total += outcomes.get(name, Counter({"not run": 1}))
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(total.items())) or "-"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; return 1 if it has holes, or if the report tells of a failure."""
    parser = argparse.ArgumentParser(description="The fault matrix with its tests, controls and results.")
    parser.add_argument("--report", type=Path, help="what `pytest --junit-xml` wrote")
    report: Path | None = parser.parse_args(arguments).report
    outcomes = None if report is None else read_report(report)
    rows = read_rows()
    faults = assign(rows, collected_names())
    print(table(rows, outcomes))
    faults += [f"{name} failed" for name, counts in (outcomes or {}).items() if counts["failed"] and _NAME.match(name)]
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
