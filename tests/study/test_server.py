"""The site over real sockets: headers, what it refuses, and twenty raters at once."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bench.study.desk import Desk
from bench.study.store import VoteStore

NAMES = ("lcm", "tcd", "tscd", "teacher", "real", "1step", "images/", "spoiled", "check")
Answer = tuple[int, dict[str, str], bytes]


def ask(
    address: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> Answer:
    """(status, headers in lower case, body) of one request."""
    host, port = address.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    given = {"content-type": "application/json", **(headers or {})}
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    connection.request(method, path, data, given)
    answer = connection.getresponse()
    found = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    connection.close()
    return found


def post(address: str, path: str, body: Any, **headers: str) -> dict[str, Any]:
    status, _, data = ask(address, "POST", path, body, headers)
    assert status == 200, (status, data)
    return dict(json.loads(data))


def test_every_response_carries_the_policy(served: Callable[..., str]) -> None:
    address = served()
    pair = post(address, "/rater", {"name": "Ana"})["pairs"][0]
    asked = [("GET", "/"), ("HEAD", "/"), ("HEAD", "/study.js"), ("GET", "/study.css"),
             ("GET", "/nowhere"), ("HEAD", "/nowhere"), ("GET", "/vote"), ("HEAD", "/vote"),
             ("POST", "/vote"), ("DELETE", "/"), ("OPTIONS", "/vote"), ("POST", "/rater"),
             ("GET", "/" + pair["left"]), ("HEAD", "/" + pair["left"]),
             ("GET", "/picture/x/left"), ("GET", "/picture/..%2f..%2fresult.json/left"),
             ("GET", "/result.json"), ("GET", "/study/votes.sqlite3")]  # fmt: skip
    for method, path in asked:
        status, headers, _ = ask(address, method, path, b"{" if method == "POST" else None)
        assert "default-src 'none'" in headers["content-security-policy"], (method, path)
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers
        assert status < 500
    assert ask(address, "GET", "/result.json")[0] == 404
    foreign = ask(address, "GET", "/", None, {"host": "elsewhere.example"})
    assert foreign[0] == 400 and "content-security-policy" in foreign[1]


def test_so_do_a_failure_of_the_server_and_what_is_no_http(
    served: Callable[..., str], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = served()
    key = post(address, "/rater", {"name": "Ana"})["rater"]

    def broken(*_: Any) -> None:
        raise RuntimeError("disk on fire")

    monkeypatch.setattr(desk, "queue", broken)
    status, headers, data = ask(address, "POST", "/queue", {"rater": key})
    assert status == 500 and "default-src 'none'" in headers["content-security-policy"]
    assert b"fire" not in data
    host, port = address.removeprefix("http://").split(":")
    upgrade = "GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade, close\r\n"
    upgrade += "upgrade: websocket\r\nsec-websocket-version: 13\r\n"
    upgrade += "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    for said in (b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", upgrade.encode()):
        with socket.create_connection((host, int(port)), timeout=60) as plain:
            plain.sendall(said)
            answer = b"".join(iter(lambda: plain.recv(65536), b""))
        assert b"content-security-policy: default-src 'none'" in answer.lower(), said


def test_a_vote_that_cannot_be_kept_is_said_so(
    served: Callable[..., str], store: VoteStore
) -> None:
    address = served()
    ana = post(address, "/rater", {"name": "Ana"})
    store._base.execute("PRAGMA query_only = ON")
    vote = {"rater": ana["rater"], "pair": ana["pairs"][0]["id"], "choice": "left", "seconds": 1}
    status, _, data = ask(address, "POST", "/vote", vote)
    assert status == 503 and json.loads(data)["error"].startswith("nothing was saved: ")
    store._base.execute("PRAGMA query_only = OFF")
    assert post(address, "/vote", vote)["done"] == 1


def test_nothing_betrays_a_contestant(
    served: Callable[..., str],
) -> None:
    address = served()
    state = post(address, "/rater", {"name": "Ana"})
    rater = state.pop("rater")
    lengths, kinds, heads = set(), set(), set()
    for _ in range(12):
        pair = state["pairs"][0]
        for side in ("left", "right"):
            status, headers, data = ask(address, "GET", "/" + pair[side])
            assert status == 200
            lengths.add(len(data))
            heads.add(tuple(sorted(headers.items())))
            kinds.add(data[:24])  # PNG's signature, width and height
        said = json.dumps(state).lower()
        assert not [name for name in NAMES if name in said]
        vote = {"rater": rater, "pair": pair["id"], "choice": "left", "seconds": 1}
        state = post(address, "/vote", vote)
    assert len(lengths) == len(kinds) == len(heads) == 1


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/vote", b"not json", {}, 400),
        ("/vote", b"[" * 9000, {}, 400),
        ("/vote", [], {}, 400),
        ("/vote", b"x" * 20_000, {}, 413),
        ("/vote", {"rater": "nobody", "pair": "x", "choice": "left"}, {}, 409),
        ("/rater", {"name": 7}, {}, 409),
        ("/rater", {"name": "\ud800"}, {}, 409),
        ("/rater", {"name": "x" * 300}, {}, 409),
        ("/rater", {"name": "Ana"}, {"content-type": "text/plain"}, 415),
        ("/rater", {"name": "Ana"}, {"sec-fetch-site": "cross-site"}, 403),
    ],
)
def test_a_faulty_request_is_refused(
    served: Callable[..., str], path: str, body: Any, headers: dict[str, str], status: int
) -> None:
    found = ask(served(), "POST", path, body, headers)
    assert found[0] == status
    assert "\n" not in json.loads(found[2])["error"]


def test_a_vote_must_be_on_a_pair_of_ones_own(served: Callable[..., str], store: VoteStore) -> None:
    address = served()
    ana, ben = (post(address, "/rater", {"name": name}) for name in ("Ana", "Ben"))
    vote = {"rater": ben["rater"], "pair": ana["pairs"][0]["id"], "choice": "left", "seconds": 1}
    assert ask(address, "POST", "/vote", vote)[0] == 409
    for seconds in ("1", True, None):
        own = {**vote, "pair": ben["pairs"][0]["id"], "seconds": seconds}
        assert ask(address, "POST", "/vote", own)[0] == 409
    assert store.votes() == []
    post(address, "/vote", {**vote, "pair": ben["pairs"][0]["id"], "seconds": -4})
    assert [v.seconds for v in store.votes()] == [0.0]
    assert ask(address, "POST", "/undo", {"rater": ana["rater"]})[0] == 409


def test_a_token_is_asked_for_where_one_is_set(served: Callable[..., str]) -> None:
    address = served(token="a-long-secret")
    assert ask(address, "POST", "/rater", {"name": "Ana"})[0] == 401
    wrong = {"authorization": "Bearer a-wrong-secret"}
    assert ask(address, "POST", "/rater", {"name": "Ana"}, wrong)[0] == 401
    post(address, "/rater", {"name": "Ana"}, authorization="Bearer a-long-secret")


def test_twenty_raters_at_once_lose_and_double_nothing(
    served: Callable[..., str], store: VoteStore
) -> None:
    address = served()

    def rate(number: int) -> list[tuple[str, str]]:
        state = post(address, "/rater", {"name": f"rater {number}"})
        key, sent = state["rater"], []
        for i in range(5):
            vote = {"rater": key, "pair": state["pairs"][0]["id"], "seconds": 1,
                    "choice": ("left", "right", "tie", "both_bad")[(i + number) % 4]}  # fmt: skip
            first = post(address, "/vote", vote)
            state = post(address, "/vote", vote)  # a tap that came twice
            assert first["done"] == state["done"] == i + 1
            sent.append((vote["pair"], vote["choice"]))
        return sent

    with ThreadPoolExecutor(20) as pool:
        sent = [vote for votes in pool.map(rate, range(20)) for vote in votes]
    assert sorted((v.trial.id, v.choice) for v in store.votes()) == sorted(sent)
    assert len({v.trial.id for v in store.votes()}) == 100
