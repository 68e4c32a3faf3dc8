"""Dagster's webserver behind a guard: what `lm-pipeline up` runs instead of `dagster dev`'s own.

Dagster has no login, answers to any Host and runs mutations that another origin sends, even by GET. On a developer's
machine that lets any web page they open launch runs here (cross-site request forgery, and DNS rebinding, which makes a
page's own host name point to 127.0.0.1). The guard answers 403 to both.
"""

import sys
from typing import Any
from urllib.parse import parse_qs, urlsplit

from dagster._cli import dev
from dagster_webserver import app as webserver_app
from dagster_webserver.cli import main as webserver_main
from dagster_webserver.webserver import DagsterWebserver
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost", "::1")
"""Names under which the server answers, at any port: a tunnel may have another one."""


def refusal(scope: Scope) -> str | None:
    """Why a request is not answered, or None.

    A request without Origin and Sec-Fetch-Site is no page's (a program's, or a plain visit): only its Host is checked.

    Args:
        scope: an ASGI scope, of type "http" or "websocket".
    """
    headers = Headers(scope=scope)
    host = headers.get("host", "")
    if _hostname(f"//{host}") not in HOSTS:
        return f"Host {host!r} is refused: open this server as one of {', '.join(HOSTS)}."
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        return f"Origin {origin!r} is refused: only pages of this server may ask it."
    is_graphql = scope["path"].rstrip("/").endswith("/graphql")
    foreign = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
    if foreign and (is_graphql or scope.get("method", "GET") not in ("GET", "HEAD")):
        return "A request of another site is refused: only pages of this server may ask it."
    # An image or a form of another page asks by GET without an Origin; Dagster's own pages never do.
    if is_graphql and scope.get("method") == "GET" and "query" in parse_qs(scope["query_string"].decode("latin-1")):
        return "GraphQL by GET is refused: send it by POST."
    return None


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:  # not an address at all, such as "[::1"
        return None


class Guard:
    """ASGI middleware that answers 403 where `refusal` has a reason."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or socket."""
        reason = refusal(scope) if scope["type"] in ("http", "websocket") else None
        if reason is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": reason})  # before it is accepted: a 403
        else:
            await PlainTextResponse(f"{reason}\n", 403)(scope, receive, send)


class GuardedWebserver(DagsterWebserver):
    """Dagster's webserver with the guard before all else."""

    def build_middleware(self) -> list[Middleware]:
        """The guard, then Dagster's own."""
        return [Middleware(Guard), *super().build_middleware()]


def run_webserver() -> None:
    """`dagster-webserver`, guarded. Dagster offers no option for the class, so its name is replaced."""
    webserver_app.DagsterWebserver = GuardedWebserver  # pyright: ignore[reportPrivateImportUsage]
    webserver_main()


def run_dev() -> None:
    """`dagster dev`, which starts the webserver by a command that is written out in its code: only that is replaced."""
    start = dev.open_ipc_subprocess  # pyright: ignore[reportPrivateImportUsage]

    def start_guarded(arguments: list[str], **options: Any) -> Any:
        own = [*arguments[:2], "assets.webserver", "webserver", *arguments[3:]]
        return start(own if arguments[2] == "dagster_webserver" else arguments, **options)

    dev.open_ipc_subprocess = start_guarded  # pyright: ignore[reportPrivateImportUsage]
    dev.dev_command()


if __name__ == "__main__":
    {"dev": run_dev, "webserver": run_webserver}[sys.argv.pop(1)]()
