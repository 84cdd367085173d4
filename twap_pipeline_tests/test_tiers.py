"""Rules for the tier of a test."""

from pathlib import Path

import pytest

from twap_pipeline_tests.tiers import TIERS, choose_tier, fixture_names, has_no_unit_test

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("path", "explicit", "fixtures", "tier"),
    [
        ("domain/test_parsers.py", ["unit"], [], "unit"),
        ("storage/test_schema.py", [], ["database", "server_url"], "integration"),
        ("test_docs.py", [], [], "integration"),
        ("defs/test_assets.py", [], ["engine"], "dagster"),
        ("sample/test_sample.py", [], [], "integration"),
        ("cli/test_ingest.py", [], ["command", "recorded_command"], "dagster"),
        ("test_end_to_end.py", [], ["web"], "dagster"),
        ("ingest/test_crashes.py", [], ["scenario"], "crash"),
        ("test_dagster_crashes.py", [], ["instance"], "crash"),
        ("test_browser.py", [], ["web"], "browser"),
        ("api/test_web_ui.py", [], ["page", "server_url"], "browser"),
        ("api/test_twaps.py", ["crash"], ["page"], "crash"),
    ],
)
def test_tier_comes_from_marker_path_or_fixture(path: str, explicit: list[str], fixtures: list[str], tier: str) -> None:
    assert choose_tier(f"twap_pipeline_tests/{path}", explicit, fixtures) == tier


def test_two_tier_markers_are_an_error() -> None:
    with pytest.raises(ValueError, match="has the tiers unit and crash"):
        choose_tier("test_x.py", ["unit", "crash"])


@pytest.mark.parametrize("fixture", ["server_url", "s3_of_session"])
def test_unit_test_that_starts_a_server_is_an_error(fixture: str) -> None:
    with pytest.raises(ValueError, match=f"starts a server \\(fixture {fixture}\\)"):
        choose_tier("test_x.py", ["unit"], ["tmp_path", fixture])


@pytest.mark.parametrize("path", ["api/test_openapi.py", "defs/test_partitions.py", "test_docs.py"])
def test_unit_marker_in_slow_folder_is_an_error(path: str) -> None:
    with pytest.raises(ValueError, match="takes seconds to import"):
        choose_tier(f"twap_pipeline_tests/{path}", ["unit"])


def test_each_collected_test_has_exactly_one_tier(request: pytest.FixtureRequest) -> None:
    tiers = {item.nodeid: [tier for tier in TIERS if item.get_closest_marker(tier)] for item in request.session.items}

    assert [nodeid for nodeid, names in tiers.items() if len(names) != 1] == []


@pytest.mark.parametrize(
    ("name", "code", "is_skipped"),
    [
        ("test_a.py", "pytestmark = pytest.mark.unit", False),
        ("test_a.py", "def test_b(): ...", True),
        ("test_docs.py", "pytestmark = pytest.mark.unit", True),
        ("conftest.py", "import os", False),
        ("helper.py", "import os", False),
    ],
)
def test_module_without_unit_marker_is_recognized(name: str, code: str, is_skipped: bool, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(code, "utf-8")

    assert has_no_unit_test(path) is is_skipped


@pytest.mark.parametrize("page", [1])
def test_parameter_named_like_a_fixture_is_no_fixture(page: int, request: pytest.FixtureRequest) -> None:
    assert page == 1
    assert "page" in request.node.fixturenames
    assert "page" not in fixture_names(request.node)
