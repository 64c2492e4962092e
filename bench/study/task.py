"""task=study: serve the page, write a static copy, bring votes in, or simulate a panel."""

from __future__ import annotations

import contextlib
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from bench.errors import UsageError
from bench.results.command import command_name
from bench.study import material as materials
from bench.study.desk import Desk
from bench.study.material import Material
from bench.study.pictures import Album
from bench.study.store import VoteStore
from hypersd.validation import Text


@dataclass(frozen=True)
class StudyOptions:
    """Options of a study: one of imported, export and simulate; without them its page is served.

    port, host, token: where, and the word that other machines must know.  votes: how many a rater
    is asked for. imported: files of votes to import (`import=`).  export: a folder that receives a
    static copy.  simulate: raters of a simulated panel that votes.
    """

    port: Annotated[int, Field(ge=0, le=65535)] = 8765
    host: Text = "127.0.0.1"
    token: str | None = None
    votes: Annotated[int, Field(ge=1, le=100_000)] = 60
    imported: Annotated[Path | None, Field(alias="import")] = None
    export: Path | None = None
    simulate: Annotated[int, Field(ge=1, le=1000)] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a word that is no token; the message does not show it."""
        if self.token is not None and not re.fullmatch(r"[\w.~-]{8,200}", self.token, re.ASCII):
            raise ValueError("token=...: must have 8 to 200 letters, digits or any of - _ . ~")


def study(run: Path, options: StudyOptions) -> int:
    """Serve, export, import or simulate, by the options, for a finished run; returns 0. Raises
    UsageError."""
    found = materials.read(run)
    if found.not_kept:
        print(f"note: {found.not_kept}")
    store = VoteStore(found.database, found.identity)
    try:
        album = Album(found, store.secret)
        if options.imported is not None:
            return _import(found, store, album, options)
        if options.export is not None:
            return _export(found, album, options)
        if options.simulate is not None:
            return _simulate(found, store, options)
        return _serve(found, store, album, options)
    finally:
        store.close()


def _import(found: Material, store: VoteStore, album: Album, options: StudyOptions) -> int:
    from bench.study.offline import Copy, bring_in

    assert options.imported is not None
    done = bring_in(Copy(found, album), store, options.imported)
    print(f"{done.entered} votes of {', '.join(done.raters)} entered, {done.known} known already")
    return 0


def _export(found: Material, album: Album, options: StudyOptions) -> int:
    from bench.study.offline import Copy, export

    assert options.export is not None
    export(Copy(found, album), options.export, options.votes)
    print(f"static copy: {options.export / 'index.html'}")
    print(f"bring votes in: {command_name()} task=study run={found.run} import=FILE|DIR")
    return 0


def _simulate(found: Material, store: VoteStore, options: StudyOptions) -> int:
    from bench.study.simulated_raters import run

    assert options.simulate is not None
    added = run(Desk(found, store), options.votes, options.simulate)
    print(f"{added} simulated votes entered; {command_name()} task=report run={found.run}")
    return 0


def _serve(found: Material, store: VoteStore, album: Album, options: StudyOptions) -> int:
    from bench.study.server import LOOPBACK, Requests, app, listen, serve

    local = options.host in LOOPBACK
    if not local and options.token is None:
        raise UsageError(
            f"host={options.host}: other machines may only ask with a token; add for instance "
            f"token={secrets.token_urlsafe(12)}"
        )
    waiting = listen(options.host, options.port)
    with contextlib.closing(waiting):
        port = waiting.getsockname()[1]
        site = app(
            Requests(Desk(found, store), album, options.votes, options.token),
            ["127.0.0.1", "localhost"] if local else ["*"],
        )
        votes = len(store.votes(simulated=False))
        print(f"{found.title}: {len(found.items)} pairs of {', '.join(found.contestants)}")
        print(f"votes so far: {votes} of people, in {store.path}")
        secret = f"#{options.token}" if options.token else ""
        print(f"open http://{options.host}:{port}/{secret}  (stop with Ctrl-C)", flush=True)
        serve(site, waiting)
    return 0
