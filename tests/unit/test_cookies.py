"""The session's cookie in headers, without an application."""

from __future__ import annotations

import typing as t

import pytest

from flask_buffalo_session.cookies import SessionCookie

SETTINGS: dict[str, t.Any] = {
    "domain": None,
    "path": "/",
    "httponly": True,
    "samesite": "Lax",
    "partitioned": False,
}


def cookie(**settings: object) -> SessionCookie:
    return SessionCookie(
        "session", permanent_sign="~", lifetime=3600, **(SETTINGS | settings)
    )


@pytest.mark.parametrize("permanent", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"domain": "shop.example", "path": "/käse"},
        {"domain": "bücher.example"},
        {"httponly": False, "samesite": "None", "partitioned": True},
    ],
    ids=["usual", "domain and path", "domain that is not ASCII", "partitioned"],
)
def test_the_size_is_that_of_the_rendered_cookie(
    settings: dict[str, object], permanent: bool
) -> None:
    """Otherwise a cookie would be sent that browsers drop."""
    made = cookie(**settings)
    rendered = made.render("text", permanent=permanent, secure=True)
    assert made.size("text", permanent=permanent) == len(rendered.encode())


def test_the_size_counts_a_lifetime_of_the_sessions_own() -> None:
    """All dates are equally long."""
    made = cookie()
    rendered = made.render("x" * 500, permanent=True, secure=True, lifetime=9**9)
    assert made.size("x" * 500, permanent=True) == len(rendered)
