"""A small stand-in for the hub, on this machine: what huggingface_hub asks, as the hub answers it.

Large files are elsewhere (a redirect to another path, with their sha256), parts of a file can be
asked for, gated repositories are listed but not given.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlparse

MARK = "mark/here"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".safetensors", ".bin", ".pt", ".pth")  # are kept elsewhere


@dataclass
class Fault:
    """What goes wrong: requests whose line ("GET them/model/...") holds `at`, so many times.

    status: the answer's, with `headers`.  cut: only so many bytes of the content are sent before
    the connection ends.  wait: seconds before the answer.  during: only while the command line of
    this number is done, as `small_bench` says by asking for `MARK`.
    """

    at: str
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    wait: float = 0.0
    times: int = 1
    during: int | None = None


class Hub(BaseHTTPRequestHandler):
    """Serves `repos` {repo: {file: bytes}} at COMMIT; `gated` ones want the token "secret"."""

    protocol_version = "HTTP/1.1"
    repos: dict[str, dict[str, bytes]]
    gated: set[str]
    asked: list[str]
    faults: list[Fault]

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = urlparse(self.path).path.strip("/")
        line = f"{self.command} {path}"
        part = self.headers["Range"]
        self.asked.append(f"{line} {part}" if part else line)
        now = self.asked.count(f"GET {MARK}") - 1
        due = (f for f in self.faults if f.times and f.during in (None, now))
        self.fault = next((f for f in due if f.at in line), None)
        if self.fault is not None:
            self.fault.times -= 1
            time.sleep(self.fault.wait)
            if self.fault.status is not None:
                return self._send(self.fault.status, b"", self.fault.headers)
        parts = path.removeprefix("api/models/").removeprefix("elsewhere/").split("/")
        repo, rest = "/".join(parts[:2]), parts[2:]
        if repo not in self.repos:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        elif path.startswith("api/"):
            told = self._tree(repo) if "/tree/" in path else self._info(repo)
            self._send(200, json.dumps(told).encode(), {"Content-Type": "application/json"})
        elif repo in self.gated and self.headers["Authorization"] != "Bearer secret":
            self._send(403, b"", {"X-Error-Code": "GatedRepo"})
        else:
            self._file(path, repo, "/".join(rest[2:]))
        return None

    def _file(self, path: str, repo: str, name: str) -> None:
        content = self.repos[repo].get(name)
        if content is None:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        facts = {"X-Repo-Commit": COMMIT, "ETag": f'"{_sha256(content)}"', "Accept-Ranges": "bytes"}
        if name.endswith(LARGE) and not path.startswith("elsewhere/"):
            linked = {"X-Linked-ETag": facts["ETag"], "X-Linked-Size": str(len(content))}
            return self._send(302, b"", {**facts, **linked, "Location": f"/elsewhere/{path}"})
        asked = self.headers["Range"]
        if asked is None:
            return self._send(200, content, facts)
        start, end = asked.removeprefix("bytes=").split("-")
        last = min(int(end or len(content)), len(content) - 1)
        facts["Content-Range"] = f"bytes {start}-{last}/{len(content)}"
        return self._send(206, content[int(start) : last + 1], facts)

    def _tree(self, repo: str) -> list[dict[str, object]]:
        listed = [_sibling(name, content) for name, content in self.repos[repo].items()]
        return [{"type": "file", "path": one.pop("rfilename"), "oid": COMMIT, **one}
                for one in listed]  # fmt: skip

    def _info(self, repo: str) -> dict[str, object]:
        return {
            "id": repo, "modelId": repo, "sha": COMMIT, "cardData": {"license": "mit"},
            "siblings": [_sibling(name, content) for name, content in self.repos[repo].items()],
            "gated": "auto" if repo in self.gated else False,
            "tags": [], "downloads": 0, "likes": 0, "private": False,
        }  # fmt: skip

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = self.fault.cut if self.fault is not None else None
        self.wfile.write(content[:cut])
        if cut is not None:
            self.close_connection = True

    def log_message(self, format: str, *words: object) -> None:
        pass


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sibling(name: str, content: bytes) -> dict[str, object]:
    found: dict[str, object] = {"rfilename": name, "size": len(content)}
    if name.endswith(LARGE):
        sha256 = _sha256(content)
        found["lfs"] = {"sha256": sha256, "oid": sha256, "size": len(content), "pointerSize": 134}
    return found


@contextmanager
def serving(
    repos: dict[str, dict[str, bytes]],
    gated: set[str] | None = None,
    faults: list[Fault] | None = None,
) -> Iterator[tuple[str, list[str]]]:
    """The address of a hub that serves `repos`, and the list of what it is asked."""
    asked: list[str] = []
    words = {"repos": repos, "gated": gated or set(), "asked": asked, "faults": faults or []}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneHub", (Hub,), words))
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # who asked has gone
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
