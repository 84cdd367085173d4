"""The routes of the web page at ``/``: an HTML file, a style sheet and script modules, all in ``api/static``."""

from importlib.resources import files
from pathlib import PurePosixPath

from fastapi import APIRouter, HTTPException, Response

router = APIRouter(include_in_schema=False)

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page loads nothing from other origins and contains no inline script or style."""

_MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


def _read_files() -> dict[str, bytes]:
    """Return relative path → content of the files in ``api/static``."""
    static = files("twap_pipeline.api").joinpath("static")
    folders = {"": static, "views/": static.joinpath("views")}
    return {
        prefix + file.name: file.read_bytes()
        for prefix, folder in folders.items()
        for file in folder.iterdir()
        if PurePosixPath(file.name).suffix in _MEDIA_TYPES
    }


_FILES = _read_files()


@router.get("/")
async def get_page() -> Response:
    """Return the page."""
    return await get_file("index.html")


@router.get("/static/{path:path}")
async def get_file(path: str) -> Response:
    """Return a file of the page."""
    if path not in _FILES:
        raise HTTPException(404)
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
    return Response(_FILES[path], media_type=_MEDIA_TYPES[PurePosixPath(path).suffix], headers=headers)
