"""The fault matrix finds its own holes, and has none; and no test tells a secret."""

import re
from collections import Counter
from pathlib import Path

import pytest

from twap_pipeline_tests import fault_matrix
from twap_pipeline_tests.conftest import pytest_runtest_makereport
from twap_pipeline_tests.fault_matrix import Row, assign, read_report, read_rows, table
from twap_pipeline_tests.s3_server import AWS_SECRET


def rows() -> list[Row]:
    return [Row("D1", "late", starred=True), Row("F1", "text", starred=False), Row("A1", "query", starred=False)]


@pytest.mark.unit
def test_a_test_belongs_to_every_row_that_its_name_begins_with() -> None:
    found = rows()

    faults = assign(found, ["test_D1_F1_both", "test_D1_control_a_watermark", "test_something_else", "test_D1"])

    assert faults == []
    assert [(row.tests, row.controls) for row in found[:2]] == [
        (["test_D1_F1_both"], ["test_D1_control_a_watermark"]),
        (["test_D1_F1_both"], []),
    ]


@pytest.mark.unit
@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (["test_D1_x", "test_D1_control_x"], "F1 has no test: text"),
        (["test_D1_x", "test_F1_x"], "D1 has no negative control: late"),
        (["test_D1_control_x", "test_F1_x"], "D1 has no test: late"),
        (["test_D1_x", "test_D1_control_x", "test_F1_x", "test_F9_x"], "test_F9_x names a row F9 that does not exist"),
    ],
)
def test_each_hole_is_named(names: list[str], fault: str) -> None:
    assert assign(rows(), names) == [fault]


@pytest.mark.unit
def test_rows_of_the_api_count_as_soon_as_one_has_a_test() -> None:
    both = [*rows(), Row("A2", "pages", starred=False)]

    assert assign(both, ["test_D1_x", "test_D1_control_x", "test_F1_x", "test_A1_x"]) == ["A2 has no test: pages"]


REPORT = """<testsuites><testsuite>
<testcase classname="m" name="test_D1_late[1]"/><testcase classname="m" name="test_D1_late[2]"><failure/></testcase>
<testcase classname="m" name="test_F1_text"><skipped/></testcase>
<testcase classname="m" name="test_D1_control_x"/>
</testsuite></testsuites>"""


@pytest.mark.unit
def test_the_table_counts_what_the_report_tells(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT, "utf-8")
    found = rows()
    assign(found, ["test_D1_late", "test_D1_control_x", "test_F1_text", "test_A1_x"])

    lines = table(found, read_report(report)).splitlines()

    assert lines[2:] == [
        "| D1★ | late | late | x | 1 failed, 2 passed |",
        "| F1 | text | text | - | 1 skipped |",
        "| A1 | query | x | - | 1 not run |",
    ]
    assert read_report(report)["test_D1_late"] == Counter(passed=1, failed=1)


@pytest.mark.unit
def test_the_rows_are_those_of_the_matrix() -> None:
    lasts = {"D": 8, "S": 6, "F": 6, "V": 9, "W": 7, "R": 6, "M": 7, "A": 6, "X": 5}

    assert [row.id for row in read_rows()] == [f"{kind}{n}" for kind, last in lasts.items() for n in range(1, last + 1)]
    starred = "D1 D2 S4 V4 V9 W1 W2 W4 R1 M1 A3 X1"
    assert [row.id for row in read_rows() if row.starred] == starred.split()


@pytest.mark.unit
def test_the_matrix_has_no_holes() -> None:
    """By the names as they are written: pytest's own collection, which the command asks, takes longer."""
    written = [
        name
        for path in Path(__file__).parent.rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
    ]

    assert assign(read_rows(), written) == []


@pytest.mark.unit
def test_the_command_prints_the_matrix_and_fails_for_a_hole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fault_matrix, "collected_names", lambda: ["test_F1_text"])

    status = fault_matrix.main([])

    said = capsys.readouterr()
    assert status == 1
    assert "D1 has no test: an object appears late" in said.err
    assert all(f"| {row.id}{'★' if row.starred else ''} | {row.fault} |" in said.out for row in read_rows())


@pytest.mark.fault("X2")
@pytest.mark.unit
@pytest.mark.parametrize(("said", "outcome"), [(f"key {AWS_SECRET}", "failed"), ("key ***", "passed")])
def test_any_test_whose_output_tells_a_secret_fails(said: str, outcome: str) -> None:
    report = pytest.TestReport("t", ("t", 0, "t"), {}, "passed", None, "teardown", [("Captured log call", said)])
    hook = pytest_runtest_makereport()
    next(hook)

    with pytest.raises(StopIteration) as judged:
        hook.send(report)

    assert judged.value.value.outcome == outcome
