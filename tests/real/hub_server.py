"""A small stand-in for the hub, on this machine: the questions that huggingface_hub asks."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlparse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """Serves `repos` {repo: {file: bytes}} at COMMIT; `gated` ones want the token "secret"."""

    repos: dict[str, dict[str, bytes]]
    gated: set[str]
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = urlparse(self.path).path.strip("/")
        parts = path.removeprefix("api/models/").split("/")
        repo, rest = "/".join(parts[:2]), parts[2:]
        self.asked.append(f"{self.command} {path}")
        if repo not in self.repos:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"}, body)
        elif repo in self.gated and self.headers["Authorization"] != "Bearer secret":
            self._send(403, b"", {"X-Error-Code": "GatedRepo"}, body)
        elif path.startswith("api/"):
            self._send(200, self._info(repo), {"Content-Type": "application/json"}, body)
        else:
            content = self.repos[repo].get("/".join(rest[2:]))
            missing = {"X-Error-Code": "EntryNotFound"}
            facts = {"X-Repo-Commit": COMMIT, "ETag": f'"{hash(content)}"'}
            self._send(404 if content is None else 200, content or b"",
                       missing if content is None else facts, body)  # fmt: skip

    def _info(self, repo: str) -> bytes:
        files = self.repos[repo].items()
        return json.dumps({
            "id": repo, "modelId": repo, "sha": COMMIT, "cardData": {"license": "mit"},
            "siblings": [{"rfilename": n, "size": len(c)} for n, c in files],
            "tags": [], "downloads": 0, "likes": 0, "private": False,
        }).encode()  # fmt: skip

    def _send(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *words: object) -> None:
        pass


@contextmanager
def serving(
    repos: dict[str, dict[str, bytes]], gated: set[str] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """The address of a hub that serves `repos`, and the list of what it is asked."""
    asked: list[str] = []
    words = {"repos": repos, "gated": gated or set(), "asked": asked}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneHub", (Hub,), words))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
