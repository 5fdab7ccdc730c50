"""Fork writers and kill them while they save.

Run with the URL of a store, this prints how many records were whole afterwards, and how
many had changed.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time

from flask_buffalo_session import Store
from flask_buffalo_session.stores.url import store_from_url

KILLS = 200


def record(number: int) -> bytes:
    """Return 20 KB that repeat one number."""
    return b"%010d" % number * 2000


def write(store: Store, token: str, data: bytes) -> None:
    number = int(data[:10])
    while True:
        number += 1
        store.save(token, record(number), expected=data, max_age=3600)
        data = record(number)


def main(url: str) -> None:
    store = store_from_url(url, "/nowhere")
    token = store.save(None, record(0), expected=None, max_age=3600)
    data, whole, changed = record(0), 0, 0
    for _ in range(KILLS):
        child = os.fork()
        if child == 0:
            write(store, token, data)
        time.sleep(random.uniform(0.005, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found = store.load(token)
        whole += found is not None and found == record(int(found[:10]))
        changed += found != data
        data = found or b""
    print(whole, changed)


if __name__ == "__main__":
    main(sys.argv[1])
