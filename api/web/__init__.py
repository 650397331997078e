"""The dashboard: pages of plain HTML, CSS and JavaScript modules that speak with `/v1` as every other client does."""

import base64
import hashlib
import re
from pathlib import Path

from fastapi import FastAPI
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

STATIC = Path(__file__).parent / "static"


def install(app: FastAPI) -> None:
    """Serves the dashboard under `/ui/`, where `/` leads. Its files hold nothing secret; what they ask for does."""
    # Starlette's own would name the host, and leave the prefix that a proxy has taken away.
    app.add_api_route("/ui", lambda: RedirectResponse("ui/"), include_in_schema=False)
    app.mount("/ui", _Files(_policy((STATIC / "index.html").read_text(encoding="utf-8"))), name="ui")
    app.add_api_route("/", lambda: RedirectResponse("ui/"), include_in_schema=False)


class _Files(StaticFiles):
    """The files, with what keeps a browser from running or loading anything else."""

    def __init__(self, policy: str) -> None:
        super().__init__(directory=STATIC, html=True)
        self._headers = {
            "Cache-Control": "no-cache",  # asked for again each time, by ETag: modules of one version belong together
            "Content-Security-Policy": policy,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, or that it has not changed."""
        response = await super().get_response(path, scope)
        response.headers.update(self._headers)
        return response


def _policy(page: str) -> str:
    """The Content-Security-Policy of the page: scripts of this service, and its import map, which stands in it."""
    scripts = re.findall(r"<script[^>]*>([^<]+)</script>", page)
    hashes = (base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in scripts)
    return "; ".join(
        (
            "default-src 'none'",
            " ".join(("script-src 'self'", *(f"'sha256-{each}'" for each in hashes))),
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
