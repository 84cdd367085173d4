"""Rules that a machine can check: retired words, length of test names, no SQL in f-strings, private Dagster API.

The words are those of the style guide that have no legitimate use in code, such as ``hold``, ``take`` or ``read`` have.
A word of the field that looks like one of them goes into ``docs/glossary.md`` and leaves this list.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from twap_pipeline.paths import ROOT

pytestmark = pytest.mark.unit

NAME_MAX_CHARACTERS = 60

RETIRED = {
    r"(?<!Coin)(?<!Zen)ledgers?": "ingest log",  # CoinLedger and ZenLedger are tax tools
    r"fates?": "row count, row outcome",
    r"glimpses?": "preview",
    r"lanes?": "write slot",
    r"anew": "again",
    r"whoever": "the noun",
    r"mend(?:s|ed|ing)?": "repair, fix",
    r"betray(?:s|ed|ing)?": "show, contain",
    r"parted": "split",
    r"alike": "both, the same",
    r"rule V9": "precedence rule",
    r"for one in": "for <the noun> in",
    r"told": "the precise verb or noun",
    r"sent again": "reuploaded_unchanged, uploaded again",
    r"moments?": "timestamp",
}
"""Regular expression of a retired word → what to write instead."""

_FOLDERS = ("twap_pipeline", "twap_pipeline_tests", "benchmarks", "alembic", "docs", "deploy", ".ci", ".github")
_SUFFIXES = {".py", ".sql", ".md", ".html", ".js", ".css", ".csv", ".toml", ".yaml", ".yml", ".ini", ""}
_START, _END = r"(?-i:(?<![A-Za-z])|(?<=[a-z])(?=[A-Z]))", r"(?-i:(?![a-z]))"
_PATTERN = re.compile(f"{_START}(?:{'|'.join(f'({word})' for word in RETIRED)}){_END}", re.IGNORECASE)
_STEMS = [re.sub(r"\(.*?\)+\??|s\?$", "", word).lower() for word in RETIRED]
"""The plain text of each expression."""

_TEST_FUNCTION = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)


def source_files() -> Iterator[Path]:
    """Yield the files that people write, except this one."""
    paths = [path for path in ROOT.iterdir() if path.name not in {"LICENSE", ".git", ".coverage"}]
    for folder in _FOLDERS:
        paths += (ROOT / folder).rglob("*")
    for path in paths:
        if path.is_file() and path.suffix in _SUFFIXES and path != Path(__file__):
            yield path


def find_retired_words(text: str) -> list[tuple[int, str, str]]:
    """Return line number, retired word and replacement of each retired word in a text."""
    replacements = list(RETIRED.values())
    return [
        (number, match.group(), replacements[(match.lastindex or 1) - 1])
        for number, line in enumerate(text.splitlines(), start=1)
        if any(stem in line.lower() for stem in _STEMS)  # many times faster than the expression
        for match in _PATTERN.finditer(line)
    ]


def test_sources_and_docs_contain_no_retired_word() -> None:
    findings = [
        f"{path.relative_to(ROOT)}:{line}: {word!r}, write: {replacement}"
        for path in source_files()
        for line, word, replacement in find_retired_words(path.read_text("utf-8"))
    ]

    assert findings == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("the ledger of fates", ["ledger", "fates"]),
        ("read_ledger()", ["ledger"]),
        ("class LedgerEntry, IngestLedger", ["Ledger", "Ledger"]),
        ("Mended: what was told", ["Mended", "told"]),
        ("CoinLedger, zenledger", []),
        ("[one.key\n for one in found]", ["for one in"]),
        ("rule V9, at that moment", ["rule V9", "moment"]),
        ("recommended planes have momentum, fatefully departed and imparted", []),
    ],
)
def test_retired_word_is_recognized_as_word_only(text: str, words: list[str]) -> None:
    assert [word for _, word, _ in find_retired_words(text)] == words


def test_retired_word_has_line_and_replacement() -> None:
    assert find_retired_words("one\ntwo anew") == [(2, "anew", "again")]


def test_scan_covers_code_sql_tests_and_docs() -> None:
    scanned = {str(path.relative_to(ROOT)) for path in source_files()}

    assert {"README.md", "start.py", "twap_pipeline/settings.py", "twap_pipeline_tests/conftest.py"} <= scanned
    assert any(name.startswith("docs/") for name in scanned)


def test_name_of_each_test_is_short() -> None:
    names = [
        f"{path.relative_to(ROOT)}: {name} ({len(name)})"
        for path in Path(__file__).parent.rglob("test_*.py")
        for name in _TEST_FUNCTION.findall(path.read_text("utf-8"))
        if len(name) > NAME_MAX_CHARACTERS
    ]

    assert names == []


def test_no_f_string_with_sql_is_excused() -> None:
    excuse = "noqa: " + "S608"

    assert [str(path.relative_to(ROOT)) for path in source_files() if excuse in path.read_text("utf-8")] == []


def test_private_dagster_api_is_in_one_module() -> None:
    private = re.compile(r"^\s*(?:from|import) dagster(?:_shared|\w*\._)", re.MULTILINE)
    paths = (ROOT / "twap_pipeline").rglob("*.py")

    assert [path.name for path in paths if private.search(path.read_text("utf-8"))] == ["event_log.py"]
