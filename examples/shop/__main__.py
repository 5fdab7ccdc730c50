"""Serve the shop.

It reads ``PORT``, ``SESSION_STORE`` and ``SESSION_SECRET`` from the environment.
"""

from __future__ import annotations

import os
import secrets
import sys

from werkzeug.serving import run_simple

from flask_buffalo_session.errors import SessionConfigError

from .app import create_app, redacted


def main() -> None:
    # Sessions end with the demo unless it is given a secret.
    os.environ.setdefault("SESSION_SECRET", secrets.token_hex(32))
    store = os.environ.get("SESSION_STORE") or "cookie"
    port = int(os.environ.get("PORT") or 5000)
    try:
        app = create_app(store)
    except (ImportError, SessionConfigError, ValueError) as error:
        sys.exit(f"SESSION_STORE: {error}")
    # The demo serves this machine alone, over plain HTTP. In production the extension
    # would warn that SESSION_COOKIE_SECURE is not True.
    app.debug = True
    print(
        f"The shop, with its sessions in {redacted(store)!r}: http://127.0.0.1:{port}/"
    )
    run_simple("127.0.0.1", port, app, threaded=True)


if __name__ == "__main__":
    main()
