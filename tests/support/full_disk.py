"""Fill the disk under a store.

Run with a folder on a small file system and a URL scheme, this prints the number of
refused saves, and the record before and after there was space again.
"""

from __future__ import annotations

import sys
from pathlib import Path

from flask_buffalo_session.errors import SessionStoreError
from flask_buffalo_session.stores.url import store_from_url


def main(folder: str, scheme: str) -> None:
    path = {"file": f"{folder}/files", "sqlite": f"/{folder}/sessions.db"}[scheme]
    store = store_from_url(f"{scheme}://{path}", "/nowhere")
    token = store.save(None, b"small", expected=None, max_age=3600)
    filler = Path(folder, "filler")
    refused = 0
    try:
        with filler.open("wb", buffering=0) as file:
            while file.write(b"x" * 1024):
                pass
    except OSError:
        pass
    for _ in range(3):
        try:
            store.save(token, b"large" * 100_000, expected=b"small", max_age=3600)
        except SessionStoreError:
            refused += 1
    still = store.load(token)
    filler.unlink()
    store.save(token, b"again", expected=b"small", max_age=3600)
    print(refused, still, store.load(token))


if __name__ == "__main__":
    main(*sys.argv[1:])
