"""Which module may import which: the rooms of the house."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "flask_buffalo_session"
PACKAGE = ROOT.name

#: What each module may import of this package, and of others beside Python's own.
#: ``stores`` stands for the modules in there, ``*`` for everything.
ROOMS: dict[str, tuple[set[str], set[str]]] = {
    "__init__": ({"*"}, set()),
    "errors": (set(), set()),
    "signals": (set(), {"blinker"}),
    "registry": ({"errors"}, set()),
    "codec": ({"errors", "registry"}, {"ormsgpack", "markupsafe"}),
    "seal": ({"errors"}, {"itsdangerous", "cryptography"}),
    "formats": ({"codec", "seal", "errors"}, set()),
    "flash": ({"sessions"}, set()),
    "sessions": (
        {
            *{"codec", "errors", "flash", "retired", "revocation", "seal", "signals"},
            *{"stores.base", "stores.null"},
        },
        {"flask", "blinker"},
    ),
    "retired": ({"stores.base"}, set()),
    "revocation": ({"errors", "retired", "stores.base"}, set()),
    "owners": (
        {"errors", "retired", "revocation", "sessions", "signals", "stores.base"},
        set(),
    ),
    "secret": ({"errors"}, set()),
    "config": (
        {"errors", "formats", "gorilla", "revocation", "secret", "stores"},
        {"flask", "cachelib"},
    ),
    "doctor.__init__": ({"config", "doctor", "errors", "secret"}, {"flask"}),
    "doctor.finding": (set(), set()),
    "doctor.settings": (
        {"config", "doctor.finding", "secret", "stores.base"},
        {"flask"},
    ),
    "doctor.probe": ({"codec", "doctor.finding", "errors", "stores.base"}, set()),
    "startup": ({"config", "doctor"}, {"flask"}),
    "cookies": (set(), {"werkzeug"}),
    "interface": (
        {
            *{"codec", "config", "cookies", "doctor", "errors", "owners"},
            *{"revocation", "seal", "secret", "sessions", "signals", "startup"},
            "stores",
        },
        {"flask", "blinker"},
    ),
    "extension": ({"*"}, {"flask"}),
    "cli": ({"*"}, {"flask", "click"}),
    "__main__": ({"cli"}, {"click"}),
    "stores.__init__": (set(), set()),
    "stores.base": ({"errors"}, set()),
    "stores.url": ({"stores", "errors"}, {"cachelib", "redis", "valkey"}),
    "stores.cookie": ({"stores.base", "errors"}, set()),
    "stores.null": ({"stores.base", "errors"}, set()),
    "stores.memory": ({"stores.base", "errors"}, set()),
    "stores.cache": (
        {
            *{"stores.base", "stores.health", "stores.lockfile", "stores.memcached"},
            "errors",
        },
        {"cachelib"},
    ),
    "stores.health": ({"stores.base"}, {"cachelib"}),
    "stores.lockfile": ({"errors"}, {"portalocker"}),
    "stores.memcached": ({"errors"}, {"cachelib", "pymemcache", "pylibmc"}),
    "stores.redis": ({"stores.base", "stores.health", "errors"}, set()),
    "stores.sql": ({"stores.base", "errors"}, {"sqlalchemy", "psycopg"}),
    "gorilla": (
        {
            *{"gorilla", "codec", "errors", "registry", "seal"},
            *{"stores.base", "stores.lockfile"},
        },
        {"markupsafe", "cryptography"},
    ),
}

#: Installed only with an extra.
OPTIONAL = {
    *{"cryptography", "portalocker", "psycopg", "pylibmc", "pymemcache", "pymysql"},
    *{"redis", "sqlalchemy", "valkey"},
}

#: What runs code that is in the data.
UNSAFE = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle"}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


PATHS = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def room_of(name: str) -> tuple[set[str], set[str]]:
    return ROOMS["gorilla" if name.partition(".")[0] == "gorilla" else name]


class Imports:
    """What a module imports."""

    def __init__(self, path: Path) -> None:
        self.inside: set[str] = set()
        self.outside: set[str] = set()
        # Those that happen when the module is imported itself.
        self.at_once: set[str] = set()
        tree = ast.parse(path.read_text())
        ours = (PACKAGE, *path.relative_to(ROOT).parts)
        for node, lazy in walk(tree, lazy=False):
            if isinstance(node, ast.Import):
                found = [tuple(alias.name.split(".")) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                module = tuple(node.module.split(".")) if node.module else ()
                base = ours[: -node.level] + module if node.level else module
                found = [(*base, alias.name) for alias in node.names]
            else:
                continue
            for parts in found:
                self._add(parts, lazy=lazy)

    def _add(self, parts: tuple[str, ...], *, lazy: bool) -> None:
        if parts[0] != PACKAGE:
            if parts[0] not in sys.stdlib_module_names:
                self.outside.add(parts[0])
            if not lazy:
                self.at_once.add(parts[0])
            return
        for end in range(len(parts), 1, -1):
            name = ".".join(parts[1:end])
            for found in (name, f"{name}.__init__"):
                if found in PATHS:
                    self.inside.add(found)
                    return
        self.inside.add(".".join(parts[1:]))


def walk(node: ast.AST, *, lazy: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Every node, and whether it runs later than the module, or never."""
    yield node, lazy
    function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    for child in ast.iter_child_nodes(node):
        yield from walk(child, lazy=lazy or function or typing)


IMPORTS = {name: Imports(path) for name, path in PATHS.items()}


def test_the_modules_are_found() -> None:
    """The tests below would pass on none at all."""
    assert {"__init__", "codec", "stores.base", "stores.memory"} <= PATHS.keys()
    assert IMPORTS["codec"].inside == {"errors", "registry"}
    assert IMPORTS["stores.memory"].inside == {"stores.base", "errors"}
    assert "cryptography" in IMPORTS["seal"].outside
    assert "cryptography" not in IMPORTS["seal"].at_once
    assert "itsdangerous" in IMPORTS["seal"].at_once


@pytest.mark.parametrize("name", PATHS)
def test_imports_run_down_only(name: str) -> None:
    """Each module imports what its room allows. A new module needs a line in
    ROOMS, which is where to think about it.
    """
    inside, outside = room_of(name)
    allowed = set(inside)
    if "stores" in inside:
        allowed |= {other for other in PATHS if other.startswith("stores")}
    if "gorilla" in inside:
        allowed |= {other for other in PATHS if other.startswith("gorilla")}
    if "doctor" in inside:
        allowed |= {other for other in PATHS if other.startswith("doctor.")}
    if "*" not in inside:
        assert sorted(IMPORTS[name].inside - allowed) == []
    assert sorted(IMPORTS[name].outside - outside) == []


def test_nothing_imports_in_a_circle() -> None:
    """Apart from what only type checkers follow."""

    def below(name: str, seen: tuple[str, ...]) -> None:
        assert name not in seen, (*seen, name)
        for other in IMPORTS[name].inside:
            if (name, other) != ("flash", "sessions"):
                below(other, (*seen, name))

    for name in PATHS:
        below(name, ())


@pytest.mark.parametrize("name", PATHS)
def test_no_optional_dependency_is_imported_at_once(name: str) -> None:
    """But in the store on SQLAlchemy, which is itself imported lazily."""
    allowed = {"sqlalchemy"} if name == "stores.sql" else set()
    assert IMPORTS[name].at_once & OPTIONAL == allowed


@pytest.mark.parametrize("name", PATHS)
def test_nothing_runs_code_out_of_data(name: str) -> None:
    """No pickle or the like anywhere, not even in a function."""
    for node in ast.walk(ast.parse(PATHS[name].read_text())):
        if isinstance(node, ast.Import):
            modules = {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules = {(node.module or "").partition(".")[0]}
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "__import__"), ast.unparse(node)
            continue
        else:
            continue
        assert modules & UNSAFE == set()


@pytest.mark.parametrize("name", PATHS)
def test_no_store_keeps_an_application(name: str) -> None:
    """Stores, codecs and seals know nothing of Flask; sessions no request."""
    source = PATHS[name].read_text()
    if name.startswith(("stores", "gorilla")) or name in ("codec", "seal", "registry"):
        assert "flask" not in IMPORTS[name].outside
    if name == "sessions":
        assert "current_app" not in source
        assert "flask.request" not in source
    if name == "interface":
        assert "os.environ" not in source
    assert "self.app" not in source


def test_importing_the_package_loads_no_optional_dependency() -> None:
    """In a process of its own, as the tests have loaded some of them."""
    code = "import sys, flask_buffalo_session; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in result.stdout.split()}
    assert PACKAGE in loaded
    assert "itsdangerous" in loaded
    assert loaded & OPTIONAL == set()
    assert f"{PACKAGE}.codec" in result.stdout.split()


def test_signing_sessions_loads_no_optional_dependency() -> None:
    """Nor does serving requests with the default settings."""
    code = (
        "import sys\n"
        "from flask import Flask, session\n"
        "from flask_buffalo_session import BuffaloSession\n"
        "app = Flask('shop')\n"
        "app.config['SESSION_SECRET'] = 'x' * 32\n"
        "BuffaloSession(app)\n"
        "app.add_url_rule('/', view_func=lambda: session.setdefault('x', 'y'))\n"
        "assert app.test_client().get('/').headers['Set-Cookie']\n"
        "print(*sys.modules)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in result.stdout.split()}
    assert loaded & OPTIONAL == set()
