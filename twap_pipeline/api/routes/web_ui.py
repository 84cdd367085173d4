"""The routes of the web page at ``/``: one HTML file, one style sheet and one script, in ``api/static``."""

from importlib.resources import files

from fastapi import APIRouter, Response

router = APIRouter(include_in_schema=False)

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page loads nothing from other origins and contains no inline script or style."""


def _static_file(name: str, media_type: str) -> Response:
    content = files("twap_pipeline.api").joinpath("static", name).read_bytes()
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
    return Response(content, media_type=media_type, headers=headers)


@router.get("/")
async def get_page() -> Response:
    """Return the page."""
    return _static_file("index.html", "text/html")


@router.get("/web_ui.css")
async def get_style_sheet() -> Response:
    """Return the style sheet."""
    return _static_file("web_ui.css", "text/css")


@router.get("/web_ui.js")
async def get_script() -> Response:
    """Return the script."""
    return _static_file("web_ui.js", "text/javascript")
