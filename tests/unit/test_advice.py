"""Test that the error for a value that cannot be stored says what to do."""

from __future__ import annotations

import collections
import collections.abc as c
import dataclasses
import enum
import io
import threading
import types
import typing as t

import numpy
import pydantic
import pytest
from flask_login import current_user
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from werkzeug.datastructures import FileStorage
from werkzeug.local import LocalProxy

from flask_buffalo_session.errors import SessionTypeError
from flask_buffalo_session.gorilla.codec import GorillaCodec
from flask_buffalo_session.native.codec import NativeCodec
from flask_buffalo_session.registry import Registry


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    password: Mapped[str]


class Form(pydantic.BaseModel):
    password: str


@dataclasses.dataclass
class Item:
    password: str


class Suit(enum.Enum):
    CLUBS = "hunter2"


class Plain:
    pass


def numbers() -> c.Iterator[int]:
    yield 1


BOTH: list[tuple[object, str]] = [
    (User(id=1, password="hunter2"), "store its primary key"),
    (LocalProxy(lambda: User(id=1, password="hunter2")), "store its primary key"),
    (current_user, "use value._get_current_object()"),
    (numpy.int64(5), "use int(value)"),
    (numpy.float32(5), "use float(value)"),
    (numpy.bool_(True), "use bool(value)"),
    (numpy.zeros(2), "use value.tolist()"),
    (bytearray(b"hunter2"), "use bytes"),
    (memoryview(b"hunter2"), "use bytes"),
    (numbers, "store its name"),
    (lambda: None, "store its name"),
    ([].append, "store its name"),
    (Plain, "store its name"),
    (io, "store its name"),
    (numbers(), "use list(value)"),
    ({"hunter2": 1}.keys(), "use list(value)"),
    ({"hunter2": 1}.items(), "use list(value)"),
    (map(str, "hunter2"), "use list(value)"),
    (collections.deque(["hunter2"]), "use list(value)"),
    (collections.ChainMap({"a": "hunter2"}), "use dict(value)"),
    (collections.UserDict(a="hunter2"), "use dict(value)"),
    (types.MappingProxyType({"a": "hunter2"}), "use dict(value)"),
    (io.StringIO("hunter2"), "store what your code needs"),
    (threading.Lock(), "store what your code needs"),
    (FileStorage(io.BytesIO(b"hunter2")), "save the file and store its name"),
]

NATIVE_ALONE: list[tuple[object, str]] = [
    (
        Form(password="hunter2"),
        "add register_type(Form, encode=Form.model_dump, decode=Form.model_validate)",
    ),
    (Item("hunter2"), "add register_type(Item)"),
    (Suit.CLUBS, "add register_type(Suit)"),
    (Plain(), "add register_type(Plain, encode=..., decode=...)"),
]

NATIVE, GORILLA = NativeCodec(Registry()), GorillaCodec(frozenset())


@pytest.mark.parametrize(
    ("codec", "value", "advice"),
    [
        *((NATIVE, value, advice) for value, advice in [*BOTH, *NATIVE_ALONE]),
        *((GORILLA, value, advice) for value, advice in BOTH),
    ],
    ids=lambda value: "",
)
def test_the_error_says_what_a_person_would_do(
    codec: NativeCodec | GorillaCodec, value: object, advice: str
) -> None:
    """It names the place and the class, and never the content."""
    with pytest.raises(SessionTypeError) as caught:
        codec.encode([value], "n")
    assert str(caught.value).startswith("session['n'][0]: ")
    assert str(caught.value).endswith((advice, f"{advice} to create the object again"))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("codec", [NATIVE, GORILLA], ids=["native", "gorilla"])
def test_a_proxy_without_an_object_is_refused(
    codec: NativeCodec | GorillaCodec,
) -> None:
    """Werkzeug raises a RuntimeError for such a proxy."""

    def failing() -> object:
        raise RuntimeError("hunter2")

    with pytest.raises(SessionTypeError) as caught:
        codec.encode([LocalProxy(failing)], "n")
    assert str(caught.value).endswith("use value._get_current_object()")
    assert "hunter2" not in str(caught.value)


def test_the_advice_for_a_pydantic_model_works() -> None:
    """The line can be copied."""
    registry = Registry()
    name, cls = "Form", Form
    from flask_buffalo_session import register_type

    scope: dict[str, t.Any] = {"register_type": register_type, name: cls}
    with pytest.raises(SessionTypeError) as caught:
        NativeCodec(registry).encode(Form(password="a"), "n")
    exec(str(caught.value).partition("add ")[2], scope)
    codec = NativeCodec()
    again = codec.decode(codec.encode(Form(password="a"), "n"), "n")
    assert again == Form(password="a")
