"""The interactive documentation at ``/docs``: Swagger UI, whose files this package contains (``static/swagger-ui``)."""

import gzip
from importlib.resources import files

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

router = APIRouter(include_in_schema=False)

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src 'self' data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page loads nothing from other origins. Swagger UI writes inline styles."""

_HEADERS = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}


@router.get("/docs")
async def get_documentation() -> Response:
    """Return the page."""
    return _static_file("docs.html", "text/html")


@router.get("/redoc")
async def redirect_to_documentation(request: Request) -> Response:
    """Redirect to ``/docs``, which describes the same document."""
    return RedirectResponse(f"{request.scope.get('root_path', '')}/docs")


@router.get("/docs/start.js")
async def get_start_script() -> Response:
    """Return the script that starts Swagger UI."""
    return _static_file("docs_start.js", "text/javascript")


@router.get("/docs/swagger-ui.css")
async def get_swagger_style_sheet(request: Request) -> Response:
    """Return the style sheet of Swagger UI."""
    return _compressed_file(request, "swagger-ui.css", "text/css")


@router.get("/docs/swagger-ui-bundle.js")
async def get_swagger_script(request: Request) -> Response:
    """Return the script of Swagger UI."""
    return _compressed_file(request, "swagger-ui-bundle.js", "text/javascript")


def _static_file(name: str, media_type: str) -> Response:
    content = files("twap_pipeline.api").joinpath("static", name).read_bytes()
    return Response(content, media_type=media_type, headers=_HEADERS)


def _compressed_file(request: Request, name: str, media_type: str) -> Response:
    """Return a file that is stored compressed; uncompressed if the client does not accept gzip."""
    content = files("twap_pipeline.api").joinpath("static", "swagger-ui", f"{name}.gz").read_bytes()
    headers = {**_HEADERS, "Vary": "Accept-Encoding"}
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(gzip.decompress(content), media_type=media_type, headers=headers)
    return Response(content, media_type=media_type, headers={**headers, "Content-Encoding": "gzip"})
