"""The study's page and its requests, on this machine only unless a token is set."""

from __future__ import annotations

import asyncio
import hmac
import json
import math
import os
import socket
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bench.errors import UsageError
from bench.study.desk import Desk
from bench.study.material import QUESTION
from bench.study.pictures import Album
from bench.study.store import Rater, Refused, Trial

if TYPE_CHECKING:
    import uvicorn

PAGE = Path(__file__).parent / "page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}
LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")
MOST_BYTES = 16_384  # of a request
LONGEST = 86_400.0  # seconds for one vote
Answer = Callable[[Request], Awaitable[Response]]


class Guarded:
    """Puts the headers on every response, errors and HEAD included."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [
                    (name, value)
                    for name, value in message.get("headers", [])
                    if name.decode().lower() not in (*HEADERS, "etag", "last-modified")
                ]
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = kept + added
            await send(message)

        await self.app(scope, receive, guarded)


class Requests:
    """The requests of the page."""

    def __init__(self, desk: Desk, album: Album, target: int, token: str | None) -> None:
        self.desk, self.album, self.target, self.token = desk, album, target, token
        self.store = desk.store

    async def rater(self, request: Request) -> Response:
        """{name} -> {rater, name, ...}: enter, or come back."""
        body = await self._body(request)
        return await self._answer(lambda: self._entered(_text(body, "name")))

    async def queue(self, request: Request) -> Response:
        """{rater} -> the next pairs."""
        body = await self._body(request)
        return await self._answer(lambda: self._state(self._known(body)))

    async def vote(self, request: Request) -> Response:
        """{rater, pair, choice, seconds} -> the next pairs, once the vote is on disk."""
        body = await self._body(request)
        return await self._answer(lambda: self._voted(body))

    async def undo(self, request: Request) -> Response:
        """{rater} -> the last pair again, first of the next ones."""
        body = await self._body(request)
        return await self._answer(lambda: self._undone(body))

    async def picture(self, request: Request) -> Response:
        """One side of a pair that was asked; only that rater knows its address."""
        name, side = request.path_params["pair"], request.path_params["side"]
        try:
            trial = await run_in_threadpool(self.store.trial, name)
        except Refused:
            raise HTTPException(404, "there is no such picture") from None
        if side not in ("left", "right"):
            raise HTTPException(404, "there is no such picture")
        path = self.album.path(trial.sides[side == "right"], trial.prompt)
        return FileResponse(path, media_type="image/png")

    async def _body(self, request: Request) -> dict[str, Any]:
        """The JSON object of a request from the study's page. Raises HTTPException."""
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.token is not None and not hmac.compare_digest(given.encode(), self.token.encode()):
            raise HTTPException(401, "open the whole address, with the part after #")
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise HTTPException(403, "only the study's own page may ask")
        if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
            raise HTTPException(415, "expected application/json")
        data = b""
        async for piece in request.stream():
            data += piece
            if len(data) > MOST_BYTES:
                raise HTTPException(413, f"a request has at most {MOST_BYTES} bytes")
        try:
            body = json.loads(data)
        except (ValueError, RecursionError):
            raise HTTPException(400, "the request is not JSON") from None
        if not isinstance(body, dict):
            raise HTTPException(400, "the request is not a JSON object")
        return body

    async def _answer(self, work: Callable[[], dict[str, Any]]) -> Response:
        try:
            return JSONResponse(await run_in_threadpool(work))
        except Refused as error:
            raise HTTPException(409, str(error)) from None
        except sqlite3.Error as error:  # a full disk: the page says so and stays where it is
            raise HTTPException(503, f"nothing was saved: {error}") from None

    def _known(self, body: dict[str, Any]) -> Rater:
        return self.store.known(_text(body, "rater"))

    def _entered(self, name: str) -> dict[str, Any]:
        rater = self.store.rater(name)
        return {"rater": rater.key, "name": rater.name, **self._state(rater)}

    def _voted(self, body: dict[str, Any]) -> dict[str, Any]:
        rater = self._known(body)
        seconds = body.get("seconds", 0.0)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise Refused("seconds must be a number")
        seconds = min(LONGEST, max(0.0, float(seconds))) if math.isfinite(seconds) else LONGEST
        self.store.vote(rater, _text(body, "pair"), _text(body, "choice"), seconds)
        return self._state(rater)

    def _undone(self, body: dict[str, Any]) -> dict[str, Any]:
        rater = self._known(body)
        trial = self.store.undo(rater)
        if trial is None:
            raise Refused("there is no vote to undo")
        return self._state(rater, first=trial)

    def _state(self, rater: Rater, first: Trial | None = None) -> dict[str, Any]:
        queue = self.desk.queue(rater)
        if first is not None:
            queue = [first, *(trial for trial in queue if trial.id != first.id)]
        return {
            "question": QUESTION,
            "done": len(self.store.done(rater)),
            "target": self.target,
            "pairs": [self._shown(trial) for trial in queue],
        }

    def _shown(self, trial: Trial) -> dict[str, str]:
        """A pair as the page sees it: nothing reveals contestants or checks."""
        return {
            "id": trial.id,
            "prompt": self.desk.material.prompts[trial.prompt],
            "left": f"picture/{trial.id}/left",
            "right": f"picture/{trial.id}/right",
        }


def app(requests: Requests, hosts: list[str]) -> ASGIApp:
    """The site. hosts: names it answers to, so that no other site can point at it."""

    def file(name: str, kind: str) -> Answer:
        async def answer(_: Request) -> Response:
            return Response((PAGE / name).read_bytes(), media_type=kind)

        return answer

    routes = [
        Route("/", file("index.html", "text/html")),
        Route("/study.js", file("study.js", "text/javascript")),
        Route("/study.css", file("study.css", "text/css")),
        Route("/picture/{pair}/{side}", requests.picture),
        Route("/rater", requests.rater, methods=["POST"]),
        Route("/queue", requests.queue, methods=["POST"]),
        Route("/vote", requests.vote, methods=["POST"]),
        Route("/undo", requests.undo, methods=["POST"]),
    ]
    site = Starlette(
        routes=routes,
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)],
        exception_handlers={HTTPException: _refusal},
    )
    return Guarded(site)


def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
        raise Refused(f"{name} must be a short text")
    return value


def listen(host: str, port: int) -> socket.socket:
    """A socket that waits at host:port. Raises UsageError where it is in use or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # on Windows it would let two servers share one port
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(128)
    except (OSError, OverflowError) as error:
        found.close()
        words = getattr(error, "strerror", None) or error
        raise UsageError(f"port={port}: {words} at {host}; choose another") from None
    return found


def serve(site: ASGIApp, waiting: socket.socket) -> None:
    """Answer until the process is interrupted."""
    server(site).run(sockets=[waiting])


def server(site: ASGIApp) -> uvicorn.Server:
    """The server; its headers reveal neither software nor time. It speaks HTTP only: the refusal of
    a WebSocket would carry no policy."""
    import uvicorn

    config = uvicorn.Config(
        site, log_level="warning", access_log=False, server_header=False, date_header=False,
        lifespan="off", timeout_graceful_shutdown=3, ws="none", http=_protocol(),
    )  # fmt: skip
    return uvicorn.Server(config)


def _protocol() -> type[asyncio.Protocol]:
    """uvicorn's protocol, whose answer to malformed HTTP has the same headers."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class QuietProtocol(H11Protocol):
        def send_400_response(self, msg: str) -> None:
            heads = {**HEADERS, "content-type": "text/plain; charset=utf-8", "connection": "close",
                     "content-length": str(len(msg))}  # fmt: skip
            lines = [f"{name}: {value}\r\n" for name, value in heads.items()]
            text = f"HTTP/1.1 400 Bad Request\r\n{''.join(lines)}\r\n{msg}"
            self.transport.write(text.encode("ascii"))
            self.transport.close()

    return QuietProtocol
