"""The routes of the API, one module per subject. Statements and bodies are in `queries`."""

V1 = "/api/v1"
"""Path prefix of the original service's contract."""

V2 = "/api/v2"
"""Path prefix of the data routes. Each router includes it, so that a route contains its whole path."""
