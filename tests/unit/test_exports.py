"""Test the public names."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import flask
import pytest

import flask_buffalo_session
from flask_buffalo_session import errors, signals
from flask_buffalo_session.stores.base import (
    Closable,
    Disownable,
    Examinable,
    Owned,
    PrunableInBatches,
)

DOCS = Path(__file__).parents[2] / "docs"

#: Section 2 of the contract, as far as it exists.
NAMES = {
    "BuffaloSession",
    "CacheStore",
    "CookieStore",
    "GorillaFormat",
    "MemoryStore",
    "NativeFormat",
    "NullStore",
    "RedisStore",
    "SQLStore",
    "Session",
    "SessionInfo",
    "Store",
    "errors",
    "previous",
    "register_type",
    "session",
    "signals",
    "testing",
}

#: The names that are no classes.
OTHERS = {"errors", "previous", "register_type", "session", "signals", "testing"}

#: The other base classes of each error.
ERRORS = {
    "SessionError": (Exception,),
    "SessionConfigError": (errors.SessionError, ValueError),
    "SessionSecretError": (errors.SessionError, RuntimeError),
    "SessionStoreError": (errors.SessionError,),
    "SessionConflictError": (errors.SessionError,),
    "SessionTooLargeError": (errors.SessionError,),
    "SessionTypeError": (errors.SessionError, TypeError),
    "SessionClosedError": (errors.SessionError, RuntimeError),
    "SessionUnsupportedError": (errors.SessionError, NotImplementedError),
    "RejectedError": (errors.SessionError,),
}


def test_all_lists_the_documented_names() -> None:
    """Exactly these names, in order."""
    assert set(flask_buffalo_session.__all__) == NAMES
    assert flask_buffalo_session.__all__ == sorted(NAMES)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_public_name_exists(name: str) -> None:
    """It has a docstring, unless it is Flask's."""
    value = getattr(flask_buffalo_session, name)
    assert value is not None
    if name != "session":
        assert inspect.getdoc(value)


def test_a_star_import_imports_all_public_names() -> None:
    """``__all__`` lists them."""
    namespace: dict[str, object] = {}
    exec("from flask_buffalo_session import *", namespace)
    assert namespace.keys() - {"__builtins__"} == NAMES


@pytest.mark.parametrize("command", ["import *", "import BuffaloSession, session"])
def test_imports_work_on_a_base_install(command: str) -> None:
    """A star import must not need SQLAlchemy, which is an extra."""
    blocked = "import sys; sys.modules['sqlalchemy'] = None"
    code = f"{blocked}\nfrom flask_buffalo_session {command}\nprint(BuffaloSession)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert result.stderr == b""
    assert b"BuffaloSession" in result.stdout


def test_session_is_flasks_session() -> None:
    """Code may import either name and use the same session."""
    assert flask_buffalo_session.session is flask.session


@pytest.mark.parametrize("name", ERRORS)
def test_errors_have_their_base_classes(name: str) -> None:
    """Each is a SessionError, and also a Python error if one fits."""
    error = getattr(errors, name)
    assert error.__bases__ == ERRORS[name]
    assert inspect.getdoc(error)


def test_no_error_is_missing_in_this_test() -> None:
    """A new error needs a line above."""
    found = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, Exception)
    }
    assert found == ERRORS.keys()


def test_errors_carry_their_details_as_attributes() -> None:
    """A handler need not parse the message."""
    large = errors.SessionTooLargeError(5000, 4093, [("cart", 4000), (7, 20)])
    assert (large.size, large.limit) == (5000, 4093)
    assert large.largest == [("cart", 4000), (7, 20)]
    assert "5000" in str(large)
    assert "4093" in str(large)
    assert "'cart' (4000 bytes), 7 (20 bytes)" in str(large)
    long = errors.SessionTooLargeError(5000, 4093, [(10**5000, 9), ("x" * 99, 8)])
    assert "<int> (9 bytes), 'xxx" in str(long)
    assert len(str(long)) < 300
    store = errors.SessionStoreError("RedisStore", "cannot be reached")
    assert store.store == "RedisStore"
    assert str(store) == "RedisStore: cannot be reached"
    kind = errors.SessionTypeError("session['cart'][0]", "no such type")
    assert kind.path == "session['cart'][0]"
    assert str(kind) == "session['cart'][0]: no such type"
    rejected = errors.RejectedError("expired", "too old")
    assert (rejected.reason, rejected.detail) == ("expired", "too old")
    assert errors.REASONS == ("bad-signature", "expired", "corrupt", "unknown")


def test_the_signals_have_their_documented_names() -> None:
    """There are six."""
    found = {name for name in vars(signals) if name.startswith("session_")}
    assert found == {
        "session_conflict",
        "session_created",
        "session_destroyed",
        "session_regenerated",
        "session_rejected",
        "session_saved",
    }
    for name in found:
        assert getattr(signals, name).name == name.replace("_", "-")


def test_public_methods_are_documented() -> None:
    """Each public method has a docstring of its own."""
    for name in sorted(NAMES - OTHERS):
        cls = getattr(flask_buffalo_session, name)
        for attribute, value in vars(cls).items():
            if attribute.startswith("_") or not callable(value):
                continue
            inherited = name == "NativeFormat" or any(
                hasattr(protocol, attribute)
                for protocol in (
                    *(flask_buffalo_session.Store, Owned),
                    *(Disownable, Examinable, Closable, PrunableInBatches),
                )
            )
            # A method of a protocol is documented in the protocol.
            assert value.__doc__ or inherited, (name, attribute)


def test_documented_errors_exist() -> None:
    """Every error name in the documentation exists."""
    for page in DOCS.glob("*.md"):
        for name in re.findall(r"\b(Session[A-Z]\w+Error)\b", page.read_text()):
            assert name in ERRORS, (page.name, name)
