"""AWS credentials that are replaced while a client is in use: which sources botocore reads again.

A run makes one client. Its access key is the one in the signature of a request.
"""

import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.credentials import CachedCredentialFetcher, RefreshableCredentials
from werkzeug.wrappers import Request, Response

from twap_pipeline.source.base import ObjectStore, open_store
from twap_pipeline_tests.s3_server import S3Server

PROCESS = """
import itertools, json, pathlib
path = pathlib.Path({path!r})
number = len(path.read_text()) if path.exists() else 0
path.write_text("x" * (number + 1))
print(json.dumps({{"Version": 1, "AccessKeyId": f"KEY{{number}}", "SecretAccessKey": "s", "SessionToken": "t",
                  "Expiration": {expiration!r}}}))
"""


@pytest.fixture
def list_key(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Callable[[ObjectStore], str]:
    """A function that lists a store and returns the access key with which the request was signed."""
    s3.client().create_bucket(Bucket="twap")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    keys: list[str] = []

    def record_key(request: Request, response: Response) -> Response:
        keys.extend(re.findall(r"Credential=([^/]+)/", request.headers["Authorization"]))
        return response

    s3.faults.append(record_key)

    def list_and_return(store: ObjectStore) -> str:
        assert list(store.list_objects()) == []
        return keys[-1]

    return list_and_return


def open_twap() -> ObjectStore:
    return open_store("s3://twap/", allow_insecure_endpoint=True)


def write_profile(monkeypatch: pytest.MonkeyPatch, directory: Path, content: str) -> None:
    path = directory / "credentials"
    path.write_text(f"[default]\n{content}\n", "utf-8")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))


def test_credential_process_is_run_again_before_it_expires(
    list_key: Callable[[ObjectStore], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expiration = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()  # botocore renews ten minutes before
    script = tmp_path / "process.py"
    script.write_text(PROCESS.format(path=str(tmp_path / "calls"), expiration=expiration), "utf-8")
    write_profile(monkeypatch, tmp_path, f"credential_process = {json.dumps(sys.executable)} {script}")
    store = open_twap()

    first, second = list_key(store), list_key(store)

    assert first != second


def test_web_identity_is_exchanged_again_before_it_expires(
    list_key: Callable[[ObjectStore], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The credentials are valid for an hour: with a limit of two hours, each request renews them."""
    for name in ("_advisory_refresh_timeout", "_mandatory_refresh_timeout"):
        monkeypatch.setattr(RefreshableCredentials, name, 7200)
    monkeypatch.setattr(CachedCredentialFetcher, "DEFAULT_EXPIRY_WINDOW_SECONDS", 7200)
    token = tmp_path / "token"
    token.write_text("first")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/twap")
    store = open_twap()

    first, second = list_key(store), list_key(store)

    assert first != second


@pytest.mark.parametrize("is_new_client", [False, True], ids=["same client", "new client"])
def test_static_profile_is_read_again_by_the_next_client(
    list_key: Callable[[ObjectStore], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, is_new_client: bool
) -> None:
    profile = "aws_access_key_id = {}\naws_secret_access_key = s\naws_session_token = t"
    write_profile(monkeypatch, tmp_path, profile.format("BEFORE"))
    store = open_twap()
    first = list_key(store)
    write_profile(monkeypatch, tmp_path, profile.format("AFTER"))

    second = list_key(open_twap() if is_new_client else store)

    assert (first, second) == ("BEFORE", "AFTER" if is_new_client else "BEFORE")
