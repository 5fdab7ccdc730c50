"""``python -m flask_buffalo_session secret``: make a secret without an application."""

from __future__ import annotations

import click

from .cli import secret

if __name__ == "__main__":
    click.Group(commands=[secret])(prog_name="python -m flask_buffalo_session")
