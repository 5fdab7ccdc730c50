"""Define the values in the measured sessions. Sizes are those of compact JSON."""

from __future__ import annotations

import json
import typing as t

Payload: t.TypeAlias = dict[str, t.Any]

#: The names that the views use. Every payload has the first two. Only the large
#: payload has the third, a list of dicts.
READ, WRITTEN, NESTED = "csrf_token", "visits", "cart"

# fmt: off
_WORDS = (
    "amber", "bridge", "canvas", "delta", "ember", "forest", "garnet", "harbour",
    "island", "jasper", "kettle", "lantern", "meadow", "nectar", "orchard",
    "pepper", "quarry", "river", "saddle", "timber", "umber", "valley", "walnut",
    "yarrow", "zephyr", "acorn", "birch",
)
# fmt: on


def size(payload: Payload) -> int:
    """Return the number of bytes, as compact JSON."""
    return len(json.dumps(payload, separators=(",", ":")).encode())


def _small() -> Payload:
    return {
        "user_id": 42173,
        READ: "IjhmMWMwMmQ5NGJlNzVhNjNjMGQ4MWUyZjdhOTQ2YjM1Ig.x1",
        WRITTEN: 1000,
    }


def _large() -> Payload:
    payload = _small() | {
        NESTED: [_item(number) for number in range(13)],
        "address": {
            "name": "Ada Marlowe",
            "lines": ["14 Harbour Road", "Flat 3"],
            "town": "Whitby",
            "location": {"lat": 54.4858, "lon": -0.6206},
        },
        "recent": [f"/shop/{word}/{len(word) * 37}" for word in _WORDS[:22]],
        "roles": ["customer", "reviewer"],
        "theme": {"name": "dark", "contrast": 1.25, "motion": False},
        "locale": "en-GB",
        "currency": "GBP",
        "newsletter": None,
        "experiments": {word: len(word) % 3 for word in _WORDS[8:16]},
        "note": "Please ring twice, the bell is faint. If nobody answers, leave the"
        " parcel with number 16, next door, or in the dry corner behind the blue"
        " bins; the dog is loud, but friendly. Many thanks!!!",
    }
    for number, word in enumerate(_WORDS):
        payload[word] = [
            1700000000 + number * 86399,
            {"page": number, "sort": _WORDS[-number - 1]},
            f"{word} {number * 104729 % 99991:05}",
        ][number % 3]
    return payload


def _item(number: int) -> Payload:
    word = _WORDS[number * 7 % len(_WORDS)]
    return {
        "sku": f"{word[:3].upper()}-{number * 7919 % 9973:04}",
        "title": f"{word.title()} {_WORDS[number * 11 % len(_WORDS)]}",
        "quantity": number % 4 + 1,
        "price": round(3.5 + number * 17.31 % 90, 2),
        "gift": number % 3 == 0,
    }


PAYLOADS: dict[str, Payload] = {"S": _small(), "L": _large()}
