"""The routes of the web page at ``/`` and of Swagger UI at ``/docs``; all their files are in ``api/static``."""

import gzip
from importlib.resources import files
from pathlib import PurePosixPath

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

router = APIRouter(include_in_schema=False)

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page loads nothing from other origins and contains no inline script or style."""

_SWAGGER_UI_POLICY = _POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
"""Swagger UI writes inline styles."""

_MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


def _read_files() -> dict[str, bytes]:
    """Return relative path → content of the files in ``api/static``. Those of Swagger UI are stored compressed."""
    contents = {}
    for folder in ("", "views/", "swagger-ui/"):
        for file in files("twap_pipeline.api").joinpath("static", folder).iterdir():
            name = file.name.removesuffix(".gz")
            if PurePosixPath(name).suffix in _MEDIA_TYPES:
                content = file.read_bytes()
                contents[folder + name] = content if name == file.name else gzip.decompress(content)
    return contents


_FILES = _read_files()


@router.get("/")
async def get_page() -> Response:
    """Return the page."""
    return await get_file("index.html")


@router.get("/docs")
async def get_documentation() -> Response:
    """Return the page of Swagger UI."""
    response = await get_file("docs.html")
    response.headers["Content-Security-Policy"] = _SWAGGER_UI_POLICY
    return response


@router.get("/redoc")
async def redirect_to_documentation(request: Request) -> Response:
    """Redirect to ``/docs``, which describes the same document."""
    return RedirectResponse(f"{request.scope.get('root_path', '')}/docs")


@router.get("/static/{path:path}")
async def get_file(path: str) -> Response:
    """Return a file of a page."""
    if path not in _FILES:
        raise HTTPException(404)
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
    return Response(_FILES[path], media_type=_MEDIA_TYPES[PurePosixPath(path).suffix], headers=headers)
