"""Run a Go program with the real gorilla/sessions, and make values for it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import struct
import subprocess
import typing as t
from pathlib import Path

from hypothesis import strategies as st

from tests.support.servers import require

NAME = "_buffalo_session"

#: A value with its Go type, as the program writes it.
Node: t.TypeAlias = dict[str, t.Any]

#: The types that the program registers, which a Flask application may register too.
REGISTERED = (
    "map[string]interface {}",
    "map[interface {}]interface {}",
    "time.Time",
    "github.com/gofrs/uuid.UUID",
    "*main.Person",
    "main.Address",
)


def require_go() -> str:
    """Return the path of the Go compiler, if gorilla/sessions is installed too."""
    go = require("go", "golang-go")
    if not Path("/usr/share/gocode/src/github.com/gorilla/sessions").exists():
        require("the Go package gorilla/sessions", "golang-github-gorilla-sessions-dev")
    return go


def build(directory: Path, source: str = "gorilla_peer") -> Path:
    """Compile a Go program. Without Go the test is skipped, or fails in CI."""
    go = require_go()
    program = directory / source
    # gofrs/uuid v5 has the code of the installed version under a path of its own.
    installed = Path("/usr/share/gocode/src/github.com/gofrs/uuid")
    version_5 = directory / "gopath/src/github.com/gofrs/uuid/v5"
    if not version_5.exists():
        shutil.copytree(installed, version_5)
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": f"/usr/share/gocode:{directory}/gopath",
        "GOCACHE": str(directory / "cache"),
        "GOFLAGS": "",
    }
    subprocess.run(
        [go, "build", "-o", program, "."],
        cwd=Path(__file__).parent / source,
        env=environment,
        check=True,
    )
    return program


class GoError(Exception):
    """The error that the Go program reports."""


class Peer:
    """The running program.

    :param bare: the program registers none of its types.
    """

    def __init__(self, program: Path, *, bare: bool = False) -> None:
        self._process = subprocess.Popen(
            [program, "bare" if bare else "full"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _ask(self, **request: t.Any) -> dict[str, t.Any]:
        assert self._process.stdin and self._process.stdout
        keys = [None if key is None else b64(key) for key in request.pop("keys")]
        print(
            json.dumps({**request, "keys": keys}), file=self._process.stdin, flush=True
        )
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise GoError(answer["error"])
        return t.cast("dict[str, t.Any]", answer)

    def pairs(
        self, cookie: str, keys: t.Sequence[bytes | None], name: str = NAME
    ) -> list[tuple[Node, Node]]:
        """Return the names and values in a cookie, with their types."""
        answer = self._ask(op="decode", name=name, keys=keys, cookie=cookie)
        return [(key, value) for key, value in answer["values"] or []]

    def values(
        self, cookie: str, keys: t.Sequence[bytes | None], name: str = NAME
    ) -> dict[str, Node]:
        """Return the values of a session whose names are all strings."""
        return {
            base64.b64decode(key["v"]).decode(): in_order(value)
            for key, value in self.pairs(cookie, keys, name)
        }

    def cookie(
        self,
        pairs: t.Iterable[tuple[Node, Node]] | dict[str, Node],
        keys: t.Sequence[bytes | None],
        name: str = NAME,
    ) -> str:
        """Return a cookie with these values."""
        if isinstance(pairs, dict):
            pairs = [(string(key), value) for key, value in pairs.items()]
        answer = self._ask(op="encode", name=name, keys=keys, values=list(pairs))
        return str(answer["cookie"])

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=10)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def node(kind: str, value: t.Any) -> Node:
    return {"t": kind, "v": value}


def string(text: str, kind: str = "string") -> Node:
    return node(kind, b64(text.encode("utf-8", "surrogateescape")))


def number(value: int, kind: str = "int") -> Node:
    return node(kind, str(value))


def real(value: float, kind: str = "float64") -> Node:
    return node(kind, f"{struct.unpack('>Q', struct.pack('>d', value))[0]:x}")


def flag(value: bool) -> Node:
    return node("bool", value)


NIL = node("nil", None)


def in_order(value: t.Any) -> t.Any:
    """Return the value with sorted maps, because Go maps have no order."""
    if isinstance(value, dict):
        inner = in_order(value["v"])
        if str(value["t"]).startswith("map["):
            inner = sorted(inner, key=json.dumps)
        return {"t": value["t"], "v": inner}
    if isinstance(value, list):
        return [in_order(item) for item in value]
    return value


# Strategies

INTS = {
    f"{sign}int{bits or ''}": (
        (0, 2 ** (bits or 64) - 1)
        if sign
        else (-(2 ** ((bits or 64) - 1)), 2 ** ((bits or 64) - 1) - 1)
    )
    for sign in ("", "u")
    for bits in (0, 8, 16, 32, 64)
}


def ints(kind: str) -> st.SearchStrategy[Node]:
    low, high = INTS[kind]
    return st.integers(low, high).map(lambda value: number(value, kind))


texts = st.text(st.characters(codec="utf-8"), max_size=12)
float32s = st.floats(width=32, allow_nan=False).map(lambda x: real(x, "float32"))
strings = texts.map(string)


def slices(kind: str, of: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    return st.lists(of, max_size=4).map(lambda items: node(f"[]{kind}", items))


def maps(
    kinds: str,
    keys: st.SearchStrategy[Node],
    of: st.SearchStrategy[Node],
) -> st.SearchStrategy[Node]:
    pairs = st.lists(
        st.tuples(keys, of).map(list), max_size=4, unique_by=lambda pair: str(pair[0])
    )
    return pairs.map(lambda found: node(kinds, found))


moments = st.tuples(
    st.datetimes(),
    st.integers(0, 999_999_999),
    st.integers(-12 * 60, 14 * 60).filter(lambda minutes: minutes != -1),
).map(
    lambda parts: node(
        "time.Time",
        f"{parts[0].replace(microsecond=0).isoformat()}"
        + (f".{parts[1]:09}".rstrip("0") if parts[1] else "")
        + (
            f"{'-' if parts[2] < 0 else '+'}"
            f"{abs(parts[2]) // 60:02}:{abs(parts[2]) % 60:02}"
            if parts[2]
            else "Z"
        ),
    )
)

addresses = st.tuples(strings, ints("int")).map(
    lambda parts: node("main.Address", [["Street", parts[0]], ["Zip", parts[1]]])
)

scalars = st.one_of(
    *map(ints, INTS),
    st.booleans().map(flag),
    strings,
    st.floats(allow_nan=False).map(real),
    float32s,
    st.binary(max_size=12).map(lambda data: node("[]uint8", b64(data))),
    texts.map(lambda text: string(text, "main.Color")),
    st.integers(0, 255).map(lambda value: number(value, "main.Level")),
    st.floats(width=32, allow_nan=False).map(lambda x: real(x, "main.Celsius")),
    st.integers(-999, 999).map(lambda value: node("main.Money", str(value))),
    texts.map(lambda text: node("main.Label", text)),
    st.uuids().map(lambda value: node("uuid.UUID", str(value))),
    moments,
)


def people(extra: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    def person(boss: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        fields = st.tuples(
            strings,
            ints("uint8"),
            ints("int64"),
            slices("string", strings),
            addresses,
            maps("map[string]int32", strings, ints("int32")),
            boss,
            float32s,
            moments,
            extra,
        )
        names = ["Name", "Age", "UserID", "Tags", "Home", "Friends", "Boss", "Score"]
        names += ["Born", "Extra"]
        return fields.map(
            lambda values: node(
                "*main.Person",
                node("main.Person", [list(p) for p in zip(names, values, strict=True)]),
            )
        )

    nobody = st.just(node("*main.Person", None))
    return person(nobody | person(nobody))


def containers(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    held = inner | st.just(NIL)
    return st.one_of(
        slices("interface {}", held),
        maps("map[string]interface {}", strings, held),
        maps("map[interface {}]interface {}", ints("int") | strings, held),
        people(held),
    )


#: Values of every kind of Go type.
nodes = st.recursive(
    st.one_of(
        scalars,
        slices("string", strings),
        slices("int8", ints("int8")),
        slices("float32", float32s),
        slices("main.Address", addresses),
        slices("time.Time", moments),
        maps("map[string]int", strings, ints("int")),
        maps("map[int8]uint16", ints("int8"), ints("uint16")),
        maps("map[string][]string", strings, slices("string", strings)),
        st.lists(ints("int16"), min_size=3, max_size=3).map(
            lambda items: node("main.Grid", items)
        ),
    ),
    containers,
    max_leaves=6,
)
