"""The identity of a source: the text by which the ingest log recognizes it. Add a rule here for each kind of source."""

from twap_pipeline.errors import ConfigurationError
from twap_pipeline.sample.manifest import read_manifest
from twap_pipeline.source.local import parse_file_url

SAMPLE_PREFIX = "sample/"
"""Start of the identity of a sample; its end follows. A sample has the same identity in any directory."""


def source_identity(url: str) -> str:
    """Return the URL of a source with a lower-case scheme and one slash at its end, or the sample's identity.

    The identity of a sample, and a URL in another form, are returned as they are.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    if scheme.lower() != "file":
        return f"{scheme.lower()}://{rest.removesuffix('/')}/"
    try:
        directory = parse_file_url(url)
    except ConfigurationError:
        return url
    if sample := read_manifest(directory.parent):
        return f"{SAMPLE_PREFIX}{sample[0].until:%Y-%m-%dT%H:%MZ}"
    return f"{directory.as_uri().removesuffix('/')}/"
