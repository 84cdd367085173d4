"""The fault matrix is complete, its command reports gaps, and the secret scan fails a test with a secret."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from twap_pipeline_tests import fault_matrix
from twap_pipeline_tests.fault_matrix import (
    LETTERS,
    TESTS_KEY,
    FaultMarkers,
    FaultTest,
    Row,
    assign,
    format_table,
    read_report,
    read_rows,
)
from twap_pipeline_tests.secret_scan import AWS_SECRET, SecretScan

_COMPLETE = [FaultTest("m::a", ("D1", "F1")), FaultTest("m::b", ("D1",), is_control=True)]


def make_rows() -> list[Row]:
    return [Row("D1", "late", starred=True), Row("F1", "text", starred=False)]


@pytest.mark.unit
def test_assign_adds_test_to_each_row_of_its_marker() -> None:
    rows = make_rows()

    assert assign(rows, _COMPLETE) == []
    assert [(row.tests, row.controls) for row in rows] == [(["m::a"], ["m::b"]), (["m::a"], [])]


@pytest.mark.unit
@pytest.mark.parametrize(
    ("tests", "gap"),
    [
        ([FaultTest("m::a", ("D1",)), _COMPLETE[1]], "F1 has no test: text"),
        (_COMPLETE[:1], "D1 has no negative control: late"),
        ([FaultTest("m::a", ("F1",)), _COMPLETE[1]], "D1 has no test: late"),
        ([*_COMPLETE, FaultTest("m::c", ("F9",))], "m::c is marked with row F9, which does not exist"),
    ],
)
def test_assign_reports_gap_of_matrix(tests: list[FaultTest], gap: str) -> None:
    assert assign(make_rows(), tests) == [gap]


REPORT = """<testsuites><testsuite>
<testcase classname="m" name="a[1]"><properties><property name="fault" value="D1"/></properties></testcase>
<testcase classname="m" name="a[2]"><properties><property name="fault" value="D1"/></properties><failure/></testcase>
<testcase classname="m" name="c"><properties>
<property name="fault" value="D1"/><property name="fault" value="F1"/></properties><skipped/></testcase>
<testcase classname="m" name="b"><properties><property name="fault_control" value="D1"/></properties></testcase>
<testcase classname="m" name="unmarked"/>
</testsuite></testsuites>"""


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A JUnit report with one failed case."""
    path = tmp_path / "report.xml"
    path.write_text(REPORT, "utf-8")
    return path


@pytest.mark.unit
def test_table_with_report_counts_results_per_row(report: Path) -> None:
    rows = make_rows()
    tests, results = read_report(report)

    assert assign(rows, tests) == []
    assert results["m::a"] == Counter(passed=1, failed=1)
    assert format_table(rows, results).splitlines()[2:] == [
        "| D1★ | late | a<br>c | b | 1 failed, 2 passed, 1 skipped |",
        "| F1 | text | c | - | 1 skipped |",
    ]


@pytest.mark.unit
def test_command_with_failed_test_in_report_fails(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = fault_matrix.main(["--report", str(report)])

    assert status == 1
    assert "m::a failed" in capsys.readouterr().err.splitlines()


@pytest.mark.unit
def test_command_with_gap_fails_and_prints_all_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fault_matrix, "collect_tests", lambda: [FaultTest("m::a", ("F1",))])

    status = fault_matrix.main([])

    output = capsys.readouterr()
    assert status == 1
    assert "D1 has no test: an object appears late" in output.err
    assert "F1 has no test" not in output.err
    assert all(f"| {row.id}{'★' if row.starred else ''} | {row.fault} |" in output.out for row in read_rows())


@pytest.mark.unit
def test_command_without_gap_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = tuple(row.id for row in read_rows())
    complete = [FaultTest("m::a", ids), FaultTest("m::b", ids, is_control=True)]
    monkeypatch.setattr(fault_matrix, "collect_tests", lambda: complete)

    assert fault_matrix.main([]) == 0


@pytest.mark.unit
def test_rows_are_those_of_the_matrix() -> None:
    rows = read_rows()
    ids = [row.id for row in rows]

    assert list(LETTERS) == list("DSFVWRMAX")
    assert ids == sorted(set(ids), key=lambda row_id: (list(LETTERS).index(row_id[0]), int(row_id[1:])))
    starred = "D1 D2 S4 F7 V4 V9 V13 W1 W2 W4 W8 R1 M1 A3 A7 X1"
    assert [row.id for row in rows if row.starred] == starred.split()


def test_matrix_of_collected_suite_has_no_gap(request: pytest.FixtureRequest) -> None:
    """The whole suite must be collected; `-m`, `-k` may deselect tests afterwards."""
    config = request.config
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS or config.option.markexpr == "unit":
        pytest.skip("only a part of the suite is collected")

    tests: list[FaultTest] = config.stash[TESTS_KEY]

    assert assign(read_rows(), tests) == []


@pytest.mark.unit
@pytest.mark.parametrize(("is_control", "key"), [(False, "fault"), (True, "fault_control")])
def test_marker_of_item_becomes_property_of_report(
    request: pytest.FixtureRequest, is_control: bool, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = request.node
    monkeypatch.setattr(item, "user_properties", [])
    monkeypatch.setattr(item, "own_markers", [pytest.mark.fault("X2", "V5", control=is_control).mark])
    config = cast("pytest.Config", SimpleNamespace(stash=pytest.Stash()))

    FaultMarkers().pytest_collection_modifyitems(config, [item])

    assert item.user_properties == [(key, "X2"), (key, "V5")]
    (test,) = config.stash[TESTS_KEY]
    assert (test.rows, test.is_control) == (("X2", "V5"), is_control)
    assert test.name.endswith("test_fault_matrix.py::test_marker_of_item_becomes_property_of_report")


@pytest.mark.fault("X2")
@pytest.mark.unit
@pytest.mark.parametrize(("output", "outcome"), [(f"key {AWS_SECRET}", "failed"), ("key ***", "passed")])
def test_secret_in_output_of_test_fails_it(output: str, outcome: str) -> None:
    report = pytest.TestReport("t", ("t", 0, "t"), {}, "passed", None, "teardown", [("Captured log call", output)])
    hook = SecretScan(AWS_SECRET).pytest_runtest_makereport()
    next(hook)

    with pytest.raises(StopIteration) as returned:
        hook.send(report)

    assert returned.value.value.outcome == outcome
