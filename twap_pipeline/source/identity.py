"""The identity of a source: the text by which the ingest log recognizes it. Add a rule here for each kind of source."""

from twap_pipeline.errors import ConfigurationError
from twap_pipeline.sample.manifest import MANIFEST
from twap_pipeline.source.local import parse_file_url

SAMPLE = "sample"
"""Identity of the generated sample, in any directory."""


def source_identity(url: str) -> str:
    """Return the URL of a source with a lower-case scheme and one slash at its end, or `SAMPLE`.

    Args:
        url: A source URL, or `SAMPLE`. A URL in another form is returned as it is.
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
    return SAMPLE if (directory / MANIFEST).is_file() else f"{directory.as_uri().removesuffix('/')}/"
