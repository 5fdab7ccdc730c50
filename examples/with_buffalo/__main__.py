"""Builds the Go program, and serves it and the Flask application behind one address."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from werkzeug.serving import run_simple

from .app import create_app

# Where Debian puts the sources of Go packages.
GOPATH = "/usr/share/gocode"


def main() -> None:
    os.environ.setdefault("SESSION_SECRET", secrets.token_hex(32))
    os.environ.setdefault("SESSION_NAME", "_shop_session")
    port = int(os.environ.get("PORT") or 5000)
    go_port = free_port()
    # Being terminated is to leave no Go program behind either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with tempfile.TemporaryDirectory() as folder:
        program = build(Path(folder))
        environ = {**os.environ, "GO_PORT": str(go_port)}
        with subprocess.Popen([program], env=environ) as go:
            print(f"Flask and Go behind one address: http://127.0.0.1:{port}/")
            try:
                run_simple("127.0.0.1", port, create_app(go_port), threaded=True)
            finally:
                go.terminate()


def build(folder: Path) -> Path:
    """The Go program's path."""
    if not shutil.which("go") or not Path(GOPATH, "src/github.com/gorilla").exists():
        sys.exit(
            "This needs Go and gorilla/sessions, Debian's packages golang-go and"
            " golang-github-gorilla-sessions-dev."
        )
    program = folder / "shop"
    environ = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": GOPATH,
        "GOCACHE": os.environ.get("GOCACHE", str(folder / "cache")),
    }
    source = str(Path(__file__).with_name("main.go"))
    subprocess.run(["go", "build", "-o", program, source], env=environ, check=True)
    return program


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    main()
