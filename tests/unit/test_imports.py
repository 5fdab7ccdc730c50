"""Test which module may import which."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "flask_buffalo_session"
PACKAGE = ROOT.name

#: The imports each module may have: from this package, and from other packages.
#: ``stores`` stands for the modules in there, ``*`` for everything.
ALLOWED: dict[str, tuple[set[str], set[str]]] = {
    "__init__": ({"*"}, set()),
    "errors": (set(), set()),
    "signals": (set(), {"blinker"}),
    "registry": ({"errors"}, set()),
    "values": ({"errors", "registry"}, set()),
    "bases": (set(), {"markupsafe", "werkzeug"}),
    "advice": (set(), set()),
    "codec": ({"errors"}, {"markupsafe"}),
    "native.__init__": (set(), set()),
    "native.types": ({"errors", "registry", "values"}, {"ormsgpack", "markupsafe"}),
    "native.codec": (
        {"advice", "bases", "codec", "errors", "native.types", "registry", "values"},
        {"ormsgpack"},
    ),
    "seal": ({"errors"}, {"itsdangerous", "cryptography"}),
    "formats": ({"codec", "errors", "native.codec", "seal"}, set()),
    "flash": (set(), set()),
    "attempts": ({"errors"}, set()),
    "merging": (set(), set()),
    "tracking": ({"codec", "errors", "merging"}, set()),
    "policy": ({"backends.base", "codec", "errors"}, set()),
    "tombstones": ({"stores.base"}, set()),
    "revocation": (
        {"errors", "native.codec", "policy", "records", "stores.base", "stores.named"}
        | {"tombstones"},
        set(),
    ),
    "records": ({"errors", "seal", "stores.base"}, {"cryptography"}),
    "ids": ({"attempts", "errors", "records", "stores.base", "tombstones"}, set()),
    "backends.__init__": (set(), set()),
    "backends.base": ({"codec", "seal", "stores.base", "tombstones"}, set()),
    "backends.make": (
        {"backends", "config", "policy", "records", "stores.base", "stores.named"},
        set(),
    ),
    "backends.kept": (
        {"backends.base", "codec", "errors", "ids", "policy", "records"}
        | {"stores.base", "tombstones"},
        set(),
    ),
    "backends.server": (
        {"attempts", "backends.base", "backends.kept", "codec", "errors", "ids"}
        | {"policy", "records", "seal", "stores.base", "tombstones"},
        set(),
    ),
    "backends.cookie": (
        {"backends.base", "backends.kept", "codec", "errors", "ids", "policy"}
        | {"records", "revocation", "seal", "stores.base", "tombstones"},
        set(),
    ),
    "backends.null": (
        {"backends.base", "codec", "errors", "seal", "stores.base"},
        set(),
    ),
    "index": (
        {"backends.base", "codec", "errors", "policy", "stores.base", "tombstones"},
        set(),
    ),
    "logins": ({"backends.base", "errors", "merging", "policy", "tracking"}, set()),
    "opener": ({"backends.base", "codec", "errors", "policy", "seal"}, {"blinker"}),
    "work": (
        {"attempts", "backends.base", "codec", "errors", "index", "logins", "merging"}
        | {"opener", "signals", "tombstones", "tracking"},
        {"blinker"},
    ),
    "arguments": ({"errors", "policy"}, set()),
    "sessions": (
        {
            "arguments",
            "backends.base",
            "errors",
            "flash",
            "merging",
            "opener",
            "signals",
            "values",
            "tombstones",
            "work",
        },
        {"flask"},
    ),
    "owners": (
        {"arguments", "backends.base", "codec", "errors", "index", "sessions"}
        | {"opener", "signals", "stores.base"},
        set(),
    ),
    "origin": (set(), set()),
    "secret": ({"errors"}, set()),
    "places": ({"errors", "stores"}, {"flask", "cachelib"}),
    "strangers": ({"errors", "secret"}, {"flask"}),
    "config": (
        {"errors", "formats", "gorilla", "origin", "places", "policy", "revocation"}
        | {"secret", "stores", "strangers"},
        {"flask"},
    ),
    "doctor.__init__": ({"config", "doctor", "errors", "secret"}, {"flask"}),
    "doctor.finding": ({"origin"}, set()),
    "doctor.settings": (
        {"config", "doctor.finding", "errors", "secret", "stores.base"},
        {"flask"},
    ),
    "doctor.levels": ({"config", "doctor.finding"}, set()),
    "doctor.probe": ({"codec", "doctor.finding", "errors", "stores.base"}, set()),
    "startup": ({"config", "doctor"}, {"flask"}),
    "cookies": ({"config"}, {"werkzeug"}),
    "sealing": (
        {"config", "cookies", "doctor", "errors", "policy", "records", "seal"}
        | {"secret"},
        {"flask"},
    ),
    "previous.__init__": ({"previous"}, set()),
    "previous.base": ({"codec", "config", "cookies", "errors", "secret"}, {"flask"}),
    "previous.flask_cookie": (
        {"codec", "config", "cookies", "errors", "previous.base", "seal", "secret"},
        {"flask", "itsdangerous"},
    ),
    "previous.flask_session": (
        {"codec", "config", "cookies", "errors", "previous", "secret"}
        | {"stores.base", "stores.redis", "stores.url"},
        {"flask", "itsdangerous", "ormsgpack"},
    ),
    "previous.flask_session_table": (
        {"errors", "stores.base"},
        {"sqlalchemy"},
    ),
    "previous.buffalo": (
        {"backends", "codec", "config", "cookies", "errors", "formats"}
        | {"previous.base", "seal", "sealing", "secret", "tombstones"},
        {"flask"},
    ),
    "arrivals": (
        {"backends.base", "config", "cookies", "errors", "previous", "seal"}
        | {"stores.base"},
        {"flask"},
    ),
    "failures": (set(), {"flask"}),
    "preserved": ({"sessions"}, set()),
    "routes": (set(), {"flask"}),
    "app_opener": (
        {
            *{"arrivals", "backends", "codec", "config", "cookies", "doctor", "errors"},
            *{"opener", "origin", "owners", "routes", "seal", "sealing", "sessions"},
            *{"signals", "startup"},
        },
        {"flask", "blinker"},
    ),
    "named": (
        {"config", "errors", "app_opener", "origin", "secret", "sessions"},
        {"flask", "werkzeug"},
    ),
    "interface": (
        {"cookies", "doctor", "errors", "failures", "named", "app_opener", "preserved"}
        | {"routes", "sessions"},
        {"flask"},
    ),
    "testing": ({"interface", "app_opener", "sessions"}, {"flask"}),
    "showing": (
        {"backends.base", "codec", "errors", "app_opener", "stores.base", "tombstones"},
        set(),
    ),
    "extension": ({"*"}, {"flask"}),
    "cli": ({"*"}, {"flask", "click"}),
    "__main__": ({"cli"}, {"click"}),
    "stores.__init__": (set(), set()),
    "stores.base": ({"errors"}, set()),
    "stores.url": ({"stores", "errors"}, {"pymemcache", "redis", "valkey"}),
    "stores.connections": (set(), set()),
    "stores.cookie": ({"stores.base", "errors"}, set()),
    "stores.named": ({"stores.base"}, set()),
    "stores.null": ({"stores.base", "errors"}, set()),
    "stores.memory": ({"stores.base", "errors"}, set()),
    "stores.cache": (
        {
            *{"stores.base", "stores.lockfile"},
            "errors",
        },
        {"cachelib"},
    ),
    "stores.engine": (
        {"stores.base", "stores.lockfile"},
        {"sqlalchemy", "psycopg", "pymysql"},
    ),
    "stores.file": ({"stores.base", "stores.lockfile", "errors"}, set()),
    "stores.health": ({"stores.base"}, set()),
    "stores.lockfile": ({"errors"}, {"portalocker"}),
    "stores.memcached": ({"stores.base", "stores.health", "errors"}, {"pymemcache"}),
    "stores.redis": ({"stores.base", "stores.health", "errors"}, set()),
    "stores.sql": ({"stores.base", "stores.engine", "errors"}, {"sqlalchemy"}),
    "gorilla": (
        {
            *{"gorilla", "codec", "errors", "flash", "registry", "seal", "values"},
            *{"advice", "bases", "stores.base", "stores.lockfile"},
        },
        {"markupsafe", "cryptography"},
    ),
}

#: Installed only with an extra.
OPTIONAL = {
    *{"cryptography", "portalocker", "psycopg", "pymemcache", "pymysql"},
    *{"redis", "sqlalchemy", "valkey"},
}

#: Modules that run code from the data they load.
UNSAFE = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle"}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


PATHS = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def allowed_imports(name: str) -> tuple[set[str], set[str]]:
    return ALLOWED["gorilla" if name.partition(".")[0] == "gorilla" else name]


class Imports:
    """The imports of a module."""

    def __init__(self, path: Path) -> None:
        self.inside: set[str] = set()
        self.outside: set[str] = set()
        # The imports that run when the module itself is imported.
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
    """Yield every node, and whether it runs after the module's import, or never."""
    yield node, lazy
    function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    for child in ast.iter_child_nodes(node):
        yield from walk(child, lazy=lazy or function or typing)


IMPORTS = {name: Imports(path) for name, path in PATHS.items()}


def test_the_modules_are_found() -> None:
    """The tests below would also pass without any modules."""
    assert {"__init__", "codec", "stores.base", "stores.memory"} <= PATHS.keys()
    assert IMPORTS["values"].inside == {"errors", "registry"}
    assert IMPORTS["stores.memory"].inside == {"stores.base", "errors"}
    assert "cryptography" in IMPORTS["seal"].outside
    assert "cryptography" not in IMPORTS["seal"].at_once
    assert "itsdangerous" in IMPORTS["seal"].at_once


@pytest.mark.parametrize("name", PATHS)
def test_each_module_imports_only_allowed_modules(name: str) -> None:
    """A new module needs a line in ALLOWED."""
    inside, outside = allowed_imports(name)
    allowed = set(inside)
    for folder in inside:
        # A folder stands for all modules in it.
        allowed |= {other for other in PATHS if other.startswith(f"{folder}.")}
    if "*" not in inside:
        assert sorted(IMPORTS[name].inside - allowed) == []
    assert sorted(IMPORTS[name].outside - outside) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports for type checkers alone count, too."""

    def below(name: str, seen: tuple[str, ...]) -> None:
        assert name not in seen, (*seen, name)
        for other in IMPORTS[name].inside:
            below(other, (*seen, name))

    for name in PATHS:
        below(name, ())


#: The modules that the package imports only where an application uses SQL.
LAZY = ("stores.sql", "stores.engine", "previous.flask_session_table")


@pytest.mark.parametrize("name", PATHS)
def test_no_optional_dependency_is_imported_with_its_module(name: str) -> None:
    """Modules that the package imports lazily are an exception."""
    allowed = {"sqlalchemy"} if name in LAZY else set()
    assert IMPORTS[name].at_once & OPTIONAL == allowed


@pytest.mark.parametrize("name", PATHS)
def test_no_module_can_run_code_from_data(name: str) -> None:
    """No module imports pickle or the like, not even in a function."""
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
def test_only_the_settings_check_the_class_of_a_store(name: str) -> None:
    """The settings choose the backend. Other modules ask the backend instead."""
    if name == "config" or name.startswith("stores."):
        return
    for node in ast.walk(ast.parse(PATHS[name].read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node)
        assert "is_stateless(" not in called
        assert not re.match(r"isinstance\(.*\b(Cookie|Null|Redis|SQL)Store\b", called)


@pytest.mark.parametrize("name", PATHS)
def test_stores_codecs_seals_and_sessions_do_not_import_flasks_globals(
    name: str,
) -> None:
    """They need neither an application nor a request."""
    source = PATHS[name].read_text()
    if name.startswith(("stores", "gorilla", "native")) or name in ("codec", "seal"):
        assert "flask" not in IMPORTS[name].outside
    if name == "sessions":
        assert "current_app" not in source
        assert "flask.request" not in source
    if name == "interface":
        assert "os.environ" not in source
    assert "self.app" not in source


def test_importing_the_package_loads_no_format_but_the_default() -> None:
    """The gorilla format is loaded by its name, or by the setting."""
    code = (
        "import sys, flask_buffalo_session as package\n"
        "assert 'flask_buffalo_session.gorilla' not in sys.modules\n"
        "assert package.GorillaFormat()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_package_loads_no_optional_dependency() -> None:
    """In another process, as the tests have loaded some of them."""
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
    """Serving requests with the default settings loads none of them."""
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
