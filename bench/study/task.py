"""task=study: serve the page, write a static copy, bring votes in, or simulate a panel."""

from __future__ import annotations

import contextlib
import secrets

from bench.errors import UsageError
from bench.options import Options
from bench.study import material as materials
from bench.study.desk import Desk
from bench.study.material import Material
from bench.study.pictures import Album
from bench.study.store import Store


def study(options: Options) -> int:
    """Do what the options ask for with the study of options.run; 0. Raises UsageError."""
    assert options.run is not None
    found = materials.read(options.run)
    store = Store(found.database, found.identity)
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


def _import(found: Material, store: Store, album: Album, options: Options) -> int:
    from bench.study.offline import Copy, bring_in

    assert options.imported is not None
    done = bring_in(Copy(found, album), store, options.imported)
    print(f"{done.entered} votes of {', '.join(done.raters)} entered, {done.known} known already")
    return 0


def _export(found: Material, album: Album, options: Options) -> int:
    from bench.study.offline import Copy, export

    assert options.export is not None
    export(Copy(found, album), options.export, options.votes)
    print(f"static copy: {options.export / 'index.html'}")
    print(f"bring votes in: python bench.py task=study run={found.run} import=FILE|DIR")
    return 0


def _simulate(found: Material, store: Store, options: Options) -> int:
    from bench.study.panel import run

    assert options.simulate is not None
    added = run(Desk(found, store), options.votes, options.simulate)
    print(f"{added} simulated votes entered; python bench.py task=report run={found.run}")
    return 0


def _serve(found: Material, store: Store, album: Album, options: Options) -> int:
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
