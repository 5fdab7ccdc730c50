"""Random parallel requests of one browser that use a session and a cart."""

from __future__ import annotations

import random
import typing as t

import pytest
from flask import Flask, Response

from flask_buffalo_session import BuffaloSession, Session, Store
from tests.conftest import SECRET

NAMES = ("main", "cart")


class Browser:
    """Sends requests that are under way at the same time.

    :param settings: the settings of the application.
    """

    def __init__(self, **settings: t.Any) -> None:
        self.app = Flask("shop")
        self.app.config.update({"SESSION_SECRET": SECRET, "TESTING": True} | settings)
        BuffaloSession(self.app).named("cart")
        self.cookies: dict[str, str] = {}

    def open(self) -> dict[str, Session]:
        """Begin a request, and return its sessions."""
        header = "; ".join(f"{name}={text}" for name, text in self.cookies.items())
        context = self.app.test_request_context("/", headers={"Cookie": header})
        interface = t.cast(t.Any, self.app.session_interface)
        main = interface.open_session(self.app, context.request)
        return {"main": main, "cart": main.named("cart")}

    def answer(self, request: dict[str, Session]) -> Response:
        """End a request, and return its response."""
        response = Response()
        interface = t.cast(t.Any, self.app.session_interface)
        interface.save_session(self.app, request["main"], response)
        return response

    def receive(self, response: Response) -> None:
        """Store the cookies of a response."""
        for header in response.headers.getlist("Set-Cookie"):
            name, _, text = header.partition(";")[0].partition("=")
            self.cookies[name] = text


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("encrypt", [False, True], ids=["signed", "encrypted"])
def test_different_names_survive_in_each_session(
    server_store: Store, seed: int, encrypt: bool
) -> None:
    """Appended elements survive, too, and one request gets a one-time value."""
    chosen = random.Random(seed)
    browser = Browser(SESSION_STORE=server_store, SESSION_ENCRYPT=encrypt)
    begin = browser.open()
    for name in NAMES:
        begin[name].update(of=name, once=name, items=[])
    browser.receive(browser.answer(begin))
    requests = [browser.open() for _ in range(3)]
    expected: dict[str, dict[str, t.Any]] = {name: {"of": name} for name in NAMES}
    items: dict[str, list[int]] = {name: [] for name in NAMES}
    taken: dict[str, list[str]] = {name: [] for name in NAMES}
    for step in range(15):
        number, name = chosen.randrange(3), chosen.choice(NAMES)
        one = requests[number][name]
        match chosen.choice(["set", "append", "once", "save"]):
            case "set":
                one[f"key {number}"] = expected[name][f"key {number}"] = step
            case "append":
                one["items"].append(step)
                items[name].append(step)
            case "once":
                taken[name].append(one.get_once("once", ""))
            case "save":
                one.save()
    chosen.shuffle(requests)
    for request in requests:
        browser.receive(browser.answer(request))
    last = browser.open()
    for name in NAMES:
        values = dict(last[name])
        assert sorted(values.pop("items")) == items[name]
        got = [*filter(None, taken[name]), *filter(None, [values.pop("once", "")])]
        assert got == [name]
        assert values == expected[name]
