"""Translation of every exception of boto3 to an error of `errors`: when a client is made, and when it is used.

Put here what an error code or an exception of botocore means, and what to do. Requests belong in `s3`.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from botocore import exceptions as aws
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from twap_pipeline.errors import (
    ConfigurationError,
    ObjectArchivedError,
    ObjectChangedError,
    ObjectCorruptError,
    ObjectError,
    ObjectGoneError,
    ObjectRefusedError,
    SourceAccessError,
    SourceError,
    SourceNotFoundError,
    SourceUnavailableError,
    TwapPipelineError,
)
from twap_pipeline.source.base import SOURCE_SETTING
from twap_pipeline.source.object_file import raise_local_error

_REQUESTER_PAYS = (
    "the bucket is requester-pays: the AWS identity needs permission for this call, and its AWS account is charged"
    " (RequestPayer=requester was sent)"
)
_EXPIRED = "the AWS credentials have expired: renew them and run again; loaded objects are not read again"
_INVALID = "the AWS credentials are not valid: correct AWS_PROFILE, or the access key in the environment"
_ADVICE_BY_CODE = {
    "ExpiredToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestExpired": _EXPIRED,
    "RequestTimeTooSkewed": "the clock of this host is wrong: correct it and run again",
    "InvalidAccessKeyId": _INVALID,
    "SignatureDoesNotMatch": _INVALID,
    "InvalidToken": _INVALID,
    "InvalidSecurity": _INVALID,
    "AccountProblem": "AWS has a problem with the account: contact AWS",
    "AuthorizationHeaderMalformed": "set AWS_REGION to the region of the bucket",
}
"""Error code → advice, for refusals that concern every request of the AWS identity."""

_CREDENTIALS = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_SIGN_IN = "sign in again: `aws sso login` or `aws login`, with the profile of AWS_PROFILE"
_CREDENTIAL_ADVICE: tuple[tuple[type[BotoCoreError], str], ...] = (
    (aws.NoCredentialsError, f"{_CREDENTIALS}; {_REQUESTER_PAYS}"),
    (aws.PartialCredentialsError, f"{_CREDENTIALS}, both of them"),
    (aws.CredentialRetrievalError, "run the credential_process, or assume the role, of the AWS profile by hand"),
    (aws.UnknownCredentialError, "correct credential_source in the AWS profile"),
    (aws.TokenRetrievalError, _SIGN_IN),
    (aws.NoAuthTokenError, _SIGN_IN),
    (aws.SSOError, _SIGN_IN),
    (aws.LoginError, _SIGN_IN),
)
"""Exception → advice, if the AWS identity could not be established."""

_UNAVAILABLE_ADVICE: tuple[tuple[type[BotoCoreError], str], ...] = (
    (aws.ProxyConnectionError, "check HTTPS_PROXY and HTTP_PROXY"),
    (aws.SSLError, "the certificate of the endpoint is not trusted: check AWS_CA_BUNDLE and AWS_ENDPOINT_URL"),
    (aws.MetadataRetrievalError, f"the metadata service of this host did not respond; or {_CREDENTIALS}"),
    (aws.PaginationError, "the listing is not complete; try again later"),
    (aws.ConnectionError, "check the network, AWS_ENDPOINT_URL and AWS_REGION"),
    (aws.HTTPClientError, "check the network, AWS_ENDPOINT_URL, AWS_REGION and AWS_CA_BUNDLE"),
)
"""Exception → advice, if the store could not be reached."""

_CONFIGURATION_ADVICE: tuple[tuple[type[BotoCoreError], str], ...] = (
    (aws.ProfileNotFound, "correct AWS_PROFILE, or add the profile to the AWS configuration file"),
    (aws.ConfigParseError, "correct this file, or set AWS_CONFIG_FILE or AWS_SHARED_CREDENTIALS_FILE to another one"),
    (aws.InvalidRegionError, "set AWS_REGION to a region such as us-east-1"),
    (aws.NoRegionError, "set AWS_REGION to the region of the bucket"),
    (aws.ParamValidationError, "correct the bucket's name in {setting}"),
    (aws.UnsupportedS3ArnError, "correct the ARN of the access point in {setting}"),
    (aws.UnsupportedS3AccesspointConfigurationError, "check AWS_REGION, and the ARN of the access point"),
    (BotoCoreError, "correct the AWS environment variables or the AWS configuration file"),
)
"""Exception → advice, for all other errors of botocore; ``{setting}`` is the setting of the source URL."""

_BROKEN_BODY = (aws.IncompleteReadError, aws.ResponseStreamingError, aws.ReadTimeoutError, aws.FlexibleChecksumError)
_TEXT_LENGTH_MAX = 300


@contextmanager
def translate_errors(
    action: str,
    key: str = "",
    *,
    setting: str = SOURCE_SETTING,
    otherwise: type[TwapPipelineError] = SourceUnavailableError,
) -> Iterator[None]:
    """Translate exceptions of boto3 within the block; messages start with ``action``: ``GET s3://bucket/key``.

    ``key`` is empty unless the block reads one object. An exception that is not botocore's becomes ``otherwise``.

    Raises:
        ObjectError: The request for this object failed.
        SourceError: The store failed or refused the request, or there are no valid credentials.
        ConfigurationError: The AWS configuration is not valid.
        LocalResourceError: This host lacks a resource.
    """
    try:
        yield
    except ClientError as error:
        raise _error_from_response(error, action, key, setting) from error
    except (BotoCoreError, ResponseParserError, HTTPError, OSError, ValueError) as error:
        raise_local_error(error)
        raise _error_from_exception(error, action, key, setting, otherwise) from error


def _error_from_exception(
    error: Exception, action: str, key: str, setting: str, otherwise: type[TwapPipelineError]
) -> TwapPipelineError:
    text = _one_line(error)
    if key and isinstance(error, (*_BROKEN_BODY, HTTPError, OSError)):
        return ObjectCorruptError(key, f"{action} broke off: {text}")
    if isinstance(error, ResponseParserError):
        return SourceUnavailableError(f"{action}: the response is not a valid S3 response: {text}; try again later")
    if not isinstance(error, BotoCoreError):
        if isinstance(error, ValueError) and text.startswith("Invalid endpoint"):  # can contain a password
            text = "the endpoint is not a URL; set AWS_ENDPOINT_URL to https://host or https://host:port"
            return ConfigurationError(f"{action}: {text}")
        if isinstance(error, json.JSONDecodeError | FileNotFoundError | PermissionError):
            return ConfigurationError(f"{action}: {text}; run the credential_process of the AWS profile by hand")
        return otherwise(f"{action}: {text}; check the network and the AWS configuration")
    for error_class, table in (
        (SourceAccessError, _CREDENTIAL_ADVICE),
        (SourceUnavailableError, _UNAVAILABLE_ADVICE),
        (ConfigurationError, _CONFIGURATION_ADVICE),
    ):
        for kind, advice in table:
            if isinstance(error, kind):
                return error_class(f"{action}: {text}; {advice.format(setting=setting)}")
    raise AssertionError("the last row matches every BotoCoreError")


def _error_from_response(error: ClientError, action: str, key: str, setting: str) -> SourceError:
    details = error.response.get("Error", {})
    code, status = details.get("Code", "?"), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    message = f"{action}: {status} {code}: {_one_line(details.get('Message', ''))}".rstrip(": ")
    if code in ("NoSuchBucket", "InvalidBucketName"):
        return SourceNotFoundError(f"{message}; correct the bucket's name in {setting}")
    if code in _ADVICE_BY_CODE:
        return SourceAccessError(f"{message}; {_ADVICE_BY_CODE[code]}")
    if key and (object_error := _error_of_object(key, message, code, status)):
        return object_error
    if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return SourceAccessError(f"{message}; {_REQUESTER_PAYS}")
    return SourceUnavailableError(f"{message}; the request failed after botocore's retries; try again later")


def _error_of_object(key: str, message: str, code: str, status: int) -> ObjectError | None:
    """Return the error of one object; None if the response concerns the store as a whole."""
    if code == "NoSuchKey" or status == HTTPStatus.NOT_FOUND:
        return ObjectGoneError(key, f"{message}; it was deleted after it was listed")
    if status == HTTPStatus.PRECONDITION_FAILED:
        return ObjectChangedError(key, f"{message}; it was overwritten after it was listed; list again")
    if code == "InvalidObjectState":
        return ObjectArchivedError(key, f"{message}; restore the object from its archive storage class, or copy it")
    if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED):
        return ObjectRefusedError(key, f"{message}; {_advise_on_refusal(code, message)}")
    return None


def _advise_on_refusal(code: str, message: str) -> str:
    if "kms" in f"{code} {message}".lower():
        return "allow the AWS identity kms:Decrypt on the KMS key of this object, and check that the key is enabled"
    if code == "InvalidRequest":
        return "this object cannot be read without parameters of its own, such as a customer's encryption key: copy it"
    return (
        "allow the AWS identity s3:GetObject for this key; if another account wrote the object, change the bucket's"
        f" Object Ownership or the object's ACL; {_REQUESTER_PAYS}"
    )


def _one_line(text: object) -> str:
    line = " ".join(str(text).split()).rstrip(":. ")
    return line if len(line) <= _TEXT_LENGTH_MAX else line[:_TEXT_LENGTH_MAX] + "…"
