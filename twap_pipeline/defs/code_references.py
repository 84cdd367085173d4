"""Links from assets in Dagster's UI to the source lines of their definitions, in a checkout.

The UI opens the file in an editor of the person who looks at it, so an installed package has no links.
"""

from collections.abc import Callable
from typing import Any

import dagster as dg

from twap_pipeline.paths import IS_CHECKOUT


def code_reference(function: Callable[..., Any]) -> dict[str, dg.CodeReferencesMetadataValue]:
    """Return the metadata that links an asset to the function that builds it; nothing for an installed package.

    `dagster.with_source_code_references` does not support source assets.

    Args:
        function: A function of this package.
    """
    if not IS_CHECKOUT:
        return {}
    code = function.__code__
    reference = dg.LocalFileCodeReference(file_path=code.co_filename, line_number=code.co_firstlineno)
    return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[reference])}
