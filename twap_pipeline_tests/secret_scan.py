"""Pytest plugin that fails each test whose output or log contains a secret of the tests (row X2)."""

from collections.abc import Generator

import pytest

AWS_SECRET = "canary-aws-secret-that-nothing-may-tell"
"""Secret key in the S3 credentials of all tests."""


class SecretScan:
    """Searches captured output, and log, of each test.

    Args:
        secrets: Texts that no output may contain; a fixture adds those that it creates.
    """

    def __init__(self, *secrets: str) -> None:
        self.secrets = set(secrets)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Change the report of a passed test to failed if its output contains a secret."""
        report = yield
        output = "".join(content for _, content in report.sections)
        if report.when == "teardown" and report.passed and any(secret in output for secret in self.secrets):
            report.outcome = "failed"
            report.longrepr = "X2: output or log of the test contains the database password or the AWS secret"
        return report
