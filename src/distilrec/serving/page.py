"""The page of `distilrec export --to web`, packed where the browser can unpack it."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

__all__ = ["Page"]


class Page(StaticFiles):
    """Files of a folder. Of one that lies there packed, too, as NAME.gz, that is what most browsers get."""

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder, html=True)
        self._packed = {path.name.removesuffix(".gz") for path in folder.glob("*.gz")}

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Packed or as it is."""
        name = "index.html" if path == "." else path
        if name not in self._packed or "gzip" not in Headers(scope=scope).get("accept-encoding", ""):
            return await super().get_response(path, scope)
        response = await super().get_response(f"{name}.gz", scope)
        response.headers["content-encoding"] = "gzip"
        response.headers["content-type"] = mimetypes.guess_type(name)[0] or "application/octet-stream"
        response.headers["vary"] = "accept-encoding"
        return response
