"""The read-only HTTP API on the tables that the pipeline writes, and its web page.

Put here routes, request parameters, response models, error responses and the API's SQL. File formats are in `exports`.
"""

from twap_pipeline.api.app import create_app

__all__ = ["create_app"]
