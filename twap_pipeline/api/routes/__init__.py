"""The API's paths, a module per subject. What they json_response with is in `schemas`, what they ask in `storage.queries`."""

V1 = "/api/v1"
"""Where the routes of data begin; each router names it, so that a route knows its whole path."""
