"""The response models of the API, for its OpenAPI document, one module per subject as in `routes`.

PostgreSQL writes most response bodies as JSON text (see `queries`), so these models do not serialize them. Tests
validate responses against the models. The types of fields are in `field_types`.
"""
