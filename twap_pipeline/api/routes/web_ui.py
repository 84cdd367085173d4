"""The page at ``/``: one HTML, one style sheet, one script, served as they lie beside this package."""

from importlib.resources import files

from fastapi import APIRouter, Response

router = APIRouter(include_in_schema=False)

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere, nothing inline."""


def _static_file(name: str, media_type: str) -> Response:
    content = files("twap_pipeline.api").joinpath("static", name).read_bytes()
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
    return Response(content, media_type=media_type, headers=headers)


@router.get("/")
async def page() -> Response:
    """The page."""
    return _static_file("index.html", "text/html")


@router.get("/page.css")
async def style() -> Response:
    """Its looks."""
    return _static_file("page.css", "text/css")


@router.get("/page.js")
async def script() -> Response:
    """Its script."""
    return _static_file("page.js", "text/javascript")
