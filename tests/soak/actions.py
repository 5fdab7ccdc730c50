"""The actions of a browser in the shop, and what each does to a session."""

from __future__ import annotations

import collections.abc as c
import copy
import html
import json
import re
import typing as t
from dataclasses import dataclass, field

from examples.shop.app import PRODUCTS

#: The names and values of a session.
Values: t.TypeAlias = dict[str, t.Any]

#: The values of a cookie's session, or None if there is no session.
State: t.TypeAlias = Values | None


@dataclass(frozen=True)
class Action:
    """One request.

    :param steps: what the session holds after each of the request's saves, given what
        it held before. Empty if there is nothing to save.
    :param ends: whether the session has another id from then on.
    :param read: what the answer shows, given its body; None if it shows nothing of the
        session.
    :param shows: what it has to show, given what is behind the cookie.
    :param once: whether what it shows is not to be shown again, ever.
    """

    method: str
    path: str
    steps: c.Callable[[Values], list[Values]]
    form: dict[str, str] = field(default_factory=dict)
    ends: bool = False
    read: c.Callable[[str], t.Any] | None = None
    shows: c.Callable[[State], t.Any] = lambda state: None
    once: bool = False

    def __str__(self) -> str:
        return " ".join([self.path, *self.form.values()])


# Actions of the shop


def put(name: str, value: str) -> Action:
    return _use("set", f"set({name!r}, {value!r})", name, value, {name: value})


def look(name: str) -> Action:
    def steps(values: Values) -> list[Values]:
        return [values | {"flash": f"get({name!r}) gave {values.get(name)!r}"}]

    return Action("POST", "/session/get", steps, {"name": name})


def take_and_show(name: str) -> Action:
    """The flash message after this action shows the value."""

    def steps(values: Values) -> list[Values]:
        rest = _without(values, name)
        shown = {"flash": f"get_once({name!r}) gave {values.get(name)!r}"}
        return [rest, rest | shown] if name in values else [rest | shown]

    return Action("POST", "/session/get_once", steps, {"name": name})


def remove(name: str) -> Action:
    def steps(values: Values) -> list[Values]:
        return [_without(values, name) | {"flash": f"delete({name!r})"}]

    return Action("POST", "/session/delete", steps, {"name": name})


def clear() -> Action:
    said = {"flash": "clear(): this message began another session"}
    return Action("POST", "/session/clear", lambda values: [dict(said)], ends=True)


def regenerate() -> Action:
    said = "regenerate(): the same values, a new id"
    return _use("regenerate", said, ends=True)


def save() -> Action:
    said = "save(): saved now, and once more with this message"

    def steps(values: Values) -> list[Values]:
        saved = values | {"saved": values.get("saved", 0) + 1}
        return [saved, saved | {"flash": said}]

    return Action("POST", "/session/save", steps)


def login(user: str) -> Action:
    known = {"user_id": user, "_owner_": user, "flash": f"Welcome, {user}!"}
    return Action(
        *("POST", "/login", lambda values: [values | known]), {"name": user}, ends=True
    )


def logout() -> Action:
    said = {"flash": "Goodbye. This message is in a session of its own."}
    return Action("POST", "/logout", lambda values: [dict(said)], ends=True)


def logout_elsewhere() -> Action:
    said = {"flash": "Logged out elsewhere."}
    return Action("POST", "/logout-elsewhere", lambda values: [values | said])


def cart(sku: str, change: str) -> Action:
    def steps(values: Values) -> list[Values]:
        values = copy.deepcopy(values)
        lines = values.setdefault("cart", {})
        count = lines.pop(sku, 0) + (-1 if change == "less" else 1)
        if count > 0:
            lines[sku] = count
        values["flash"] = f"{PRODUCTS[sku][0]}: {count} in the cart."
        return [values]

    return Action("POST", f"/cart/{sku}", steps, {"change": change})


def too_large() -> Action:
    put = {
        "too_large": "10000 characters",
        "flash": "10 KB are no problem here; in a cookie they are.",
    }
    return Action("POST", "/too-large", lambda values: [values | put])


def home() -> Action:
    """The response shows the flash message once."""
    return Action(
        *("GET", "/", lambda values: _taken(values, "flash")),
        read=_flash_of,
        shows=lambda state: (state or {}).get("flash"),
    )


# Actions that only the soak adds


def held() -> Action:
    """The response shows the whole session."""
    return Action(
        *("GET", "/soak/held", lambda values: []),
        read=held_in,
        shows=lambda state: state,
    )


def put_slowly(name: str, value: str, seconds: float) -> Action:
    form = {"name": name, "value": value, "seconds": f"{seconds:.3f}"}
    return Action("POST", "/soak/put", lambda values: [values | {name: value}], form)


def take(name: str) -> Action:
    return _take_once("/soak/take", name, {"name": name})


def add_message(message: str) -> Action:
    def steps(values: Values) -> list[Values]:
        messages = values.get("_flash_", {}).get("info", [])
        return [values | {"_flash_": {"info": [*messages, message]}}]

    return Action("POST", "/soak/add", steps, {"message": message})


def read_messages() -> Action:
    return _take_once("/soak/read", "_flash_", {}, nothing={})


def _use(
    action: str,
    said: str,
    name: str = "x",
    value: str = "",
    change: Values | None = None,
    *,
    ends: bool = False,
) -> Action:
    known = {**(change or {}), "flash": said}
    form = {"name": name, "value": value}
    path = f"/session/{action}"
    return Action("POST", path, lambda values: [values | known], form, ends=ends)


def _take_once(
    path: str, name: str, form: dict[str, str], nothing: t.Any = None
) -> Action:
    return Action(
        *("POST", path, lambda values: _taken(values, name), form),
        read=lambda body: json.loads(body)["got"],
        shows=lambda state: (state or {}).get(name, nothing),
        once=True,
    )


def _taken(values: Values, name: str) -> list[Values]:
    return [_without(values, name)] if name in values else []


def _without(values: Values, name: str) -> Values:
    return {key: value for key, value in values.items() if key != name}


# Reading answers

_FLASH = re.compile(r'id="flash" role="status">(.*?)</p>')

# How many sessions there were elsewhere nobody knows, once the answer to a login has
# been lost.
_ELSEWHERE = re.compile(r"^(Logged out elsewhere): \d+\.$")


def _flash_of(page: str) -> str | None:
    found = _FLASH.search(page)
    return _uncounted(html.unescape(found[1])) if found else None


def held_in(body: str) -> State:
    """Return the session that a response to :func:`held` shows."""
    answer = json.loads(body)
    values: Values = answer["values"]
    if answer["id"] is None and not values:
        return None
    if "flash" in values:
        values["flash"] = _uncounted(values["flash"])
    if "cart" in values:
        values["cart"] = {sku: line["count"] for sku, line in values["cart"].items()}
    return values


def _uncounted(text: str) -> str:
    return _ELSEWHERE.sub(r"\1.", text)
