"""What keeps other pages in the same browser from this one."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# A name that a stranger makes point to 127.0.0.1 is not among them.
HOSTS = ("127.0.0.1", "localhost")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; "
    "style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """Adds HEADERS, and refuses forms that another page sends."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send):
        """One request; see ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message):
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        app: ASGIApp = self._app
        if scope["method"] == "POST" and not own(Headers(scope=scope)):
            app = PlainTextResponse("Sent by another page; refused.\n", 403)
        await app(scope, receive, with_headers)


def own(headers: Headers) -> bool:
    """Whether a form was sent by this very page, or by no browser."""
    origin = headers.get("origin")
    return origin in (None, f"http://{headers.get('host')}")


def guarded(app: ASGIApp) -> ASGIApp:
    """The application behind both checks."""
    return Guard(TrustedHostMiddleware(app, HOSTS, www_redirect=False))
