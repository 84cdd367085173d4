"""Tables of the commands: full text, alignment and plain output."""

from decimal import Decimal

import pytest

from twap_pipeline.cli.tables import print_table


def test_table_on_a_pipe_is_plain_text_with_full_cells(capsys: pytest.CaptureFixture[str]) -> None:
    key = f"[raw]/{'x' * 300}.parquet"

    print_table(["key", "bytes"], [(key, 1_234), ("b :smile:", None)])

    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        f"{'key':<{len(key)}}   bytes",
        "─" * (len(key) + 8),
        f"{key}   1,234",
        f"{'b :smile:':<{len(key)}}       -",
    ]


def test_table_prints_decimals_without_exponent(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["size"], [(Decimal("1E-7"),), (Decimal("1E+3"),)])

    assert capsys.readouterr().out.split()[-2:] == ["0.0000001", "1000"]
