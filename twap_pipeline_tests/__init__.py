"""Tests of `twap_pipeline`. A failed assertion in a helper module shows its values, as in a test module."""

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{module}" for module in ("crash_rounds", "dagster_client", "invariants")))
