"""The fuzz targets: functions of bytes that raise an error if a promise is broken.

The targets need no fuzzer, so a test calls them with the inputs that a fuzzer has
found. A target must always use its bytes in the same way, or the stored inputs would
mean something else.
"""

from __future__ import annotations

import collections.abc as c
import contextlib
import dataclasses
import enum
import socket
import struct
import tempfile
import traceback
import typing as t
import zlib
from pathlib import Path
from unittest import mock
from urllib.parse import unquote, urlsplit

from flask import Flask

from flask_buffalo_session import (
    BuffaloSession,
    CookieStore,
    GorillaFormat,
    MemoryStore,
    NullStore,
)
from flask_buffalo_session.codec import Codec, Record
from flask_buffalo_session.config import Config
from flask_buffalo_session.errors import (
    REASONS,
    RejectedError,
    SessionConfigError,
    SessionSecretError,
    SessionTooLargeError,
    SessionTypeError,
)
from flask_buffalo_session.gorilla import GoOpaque, GoStruct
from flask_buffalo_session.gorilla.codec import GorillaCodec
from flask_buffalo_session.gorilla.gob.reader import Reader
from flask_buffalo_session.gorilla.gob.types import GobError
from flask_buffalo_session.gorilla.gob.writer import TypeTable, Writer
from flask_buffalo_session.native.codec import NativeCodec
from flask_buffalo_session.records import RecordCipher
from flask_buffalo_session.registry import Registered, Registry, _known_kind
from flask_buffalo_session.seal import EncryptedSeal, Seal, SignedSeal, base64_encode
from flask_buffalo_session.stores.base import StoreURLError, storage_key
from flask_buffalo_session.stores.url import SCHEMES, store_from_url
from tests.support import sealing

from .apps import AGE, ASKED, BLOCK_KEY, NAME, SECRET, SHOPS, TOKEN, VIEWS, WRITING
from .sources import CANARY, Source

Target: t.TypeAlias = c.Callable[[bytes], None]

TARGETS: dict[str, Target] = {}


def target(function: Target) -> Target:
    TARGETS[function.__name__] = function
    return function


# Cookies


@target
def cookie(data: bytes) -> None:
    """Send a whole ``Cookie`` header."""
    source = Source(data)
    shop, view = source.pick(list(SHOPS)), source.pick(ASKED)
    check_cookie(shop, view, source.rest().decode("latin-1"))


def check_cookie(name: str, view: str, header: str) -> None:
    shop = SHOPS[name]
    shop.holding(_EMPTY[type(shop.codec)])
    answer = shop.ask(view, header)
    assert len(answer.rejections) <= 1
    if view in WRITING:
        shop.ask("written", answer.cookie)


_HASH_KEYS = [SECRET.encode(), b"an older secret, of the same length"]

_SEALS: dict[str, Seal] = {
    "signed": SignedSeal(_HASH_KEYS, NAME),
    "encrypted": EncryptedSeal(_HASH_KEYS, NAME),
    "gorilla": GorillaFormat().seal(_HASH_KEYS, NAME, encrypt=False),
    "gorilla-encrypted": GorillaFormat(
        *(SECRET, BLOCK_KEY, SECRET, BLOCK_KEY[:16])
    ).seal([], NAME, encrypt=True),
}


@target
def seal(data: bytes) -> None:
    """Unseal a cookie's text. It is rejected, or its token can be sealed again."""
    source = Source(data)
    chosen = source.pick(list(_SEALS.values()))
    _unsealed(chosen, source.rest().decode("utf-8", "surrogateescape"))


@target
def sealed(data: bytes) -> None:
    """Unseal flags, a timestamp and a body that have a valid signature."""
    source = Source(data)
    kind = source.pick(list(_SEALS))
    head, timestamp = source.take(source.byte() % 4), source.take(source.byte() % 16)
    deflate = source.byte() % 2
    body = zlib.compress(source.rest(), 1) if deflate else source.rest()
    _unsealed(_SEALS[kind], sealed_text(kind, head, timestamp, body))


def sealed_text(kind: str, head: bytes, timestamp: bytes, body: bytes) -> str:
    """Return a text that a seal verifies, although its parts may make no sense.

    Equal parts give equal texts.
    """
    with contextlib.suppress(UnicodeDecodeError):
        return _SEALERS[kind](head, timestamp, body).decode("ascii")
    return ""


def _signed(head: bytes, timestamp: bytes, body: bytes) -> bytes:
    return sealing.signed(SECRET, NAME, head, body, timestamp)


def _encrypted(head: bytes, timestamp: bytes, body: bytes) -> bytes:
    flags = head.ljust(2, b"r")[:2]
    return sealing.encrypted(SECRET, NAME, flags, body, timestamp)


def _gorilla(head: bytes, timestamp: bytes, body: bytes) -> bytes:
    # gorilla has no flags. The head makes base64 that nothing encodes to.
    value = head + _padded(base64_encode(body))
    return sealing.gorilla(SECRET, NAME, timestamp, value)


def _gorilla_encrypted(head: bytes, timestamp: bytes, body: bytes) -> bytes:
    encrypted = sealing.gorilla_encrypted_body(BLOCK_KEY, body)
    return _gorilla(head, timestamp, encrypted)


def _padded(text: bytes) -> bytes:
    return text + b"=" * (-len(text) % 4)


_SEALERS: dict[str, c.Callable[[bytes, bytes, bytes], bytes]] = {
    "signed": _signed,
    "encrypted": _encrypted,
    "gorilla": _gorilla,
    "gorilla-encrypted": _gorilla_encrypted,
}


def _unsealed(seal: Seal, text: str) -> None:
    issued = seal.issued(text)
    assert issued is None or type(issued) is int
    try:
        ticket = seal.unseal(text, max_age=AGE)
    except RejectedError as error:
        assert error.reason in REASONS
        return
    with contextlib.suppress(SessionTooLargeError):
        again = seal.seal(ticket.token, permanent=bool(ticket.permanent))
        assert seal.unseal(again, max_age=AGE)[:2] == (ticket.token, seal.issued(again))


# Records on a server


CIPHER = RecordCipher(_HASH_KEYS)

SESSION_ID = storage_key(TOKEN)

_ENVELOPES: list[c.Callable[[bytes], bytes]] = [
    lambda body: body,
    lambda body: CIPHER.encrypt(body, storage_key("another session")),
    lambda body: CIPHER.encrypt(body, SESSION_ID)[:-1],
    lambda body: CIPHER.encrypt(body, SESSION_ID)[1:],
    lambda body: RecordCipher([b"a secret that was dropped"]).encrypt(body, SESSION_ID),
]


@target
def encrypted_record(data: bytes) -> None:
    """Decrypt a record. It is rejected, or it was encrypted for its id."""
    source = Source(data)
    kind = source.byte() % len(_ENVELOPES)
    body = source.rest()
    try:
        plain = CIPHER.decrypt(_ENVELOPES[kind](body), SESSION_ID)
    except RejectedError as error:
        assert error.reason == "corrupt"
    else:
        assert kind == 0
        assert CIPHER.encrypt(plain, SESSION_ID) == body
        _read_record(NATIVE, plain)


# The native format


class Suit(enum.Enum):
    HEARTS = "hearts"
    SPADES = "spades"


class Point(t.NamedTuple):
    x: t.Any
    y: t.Any


@dataclasses.dataclass
class Basket:
    """A class that is a struct of the same fields in Go."""

    owner: str = ""
    lines: list[t.Any] = dataclasses.field(default_factory=list)
    point: t.Any = None


#: A registry of its own, because the default one is shared by the whole process.
REGISTRY = Registry()
REGISTRY.add(Registered("suit", Suit, *_known_kind(Suit)))
REGISTRY.add(Registered("point", Point, *_known_kind(Point)))
REGISTRY.add(Registered("basket", Basket, *_known_kind(Basket), go_name="main.Basket"))

NATIVE = NativeCodec(REGISTRY)
GORILLA = GorillaCodec(["map[string]interface {}", "time.Time"], REGISTRY)

_EMPTY: dict[type, bytes] = {
    NativeCodec: NATIVE.dumps(Record(1, b"nonce", {"user_id": b"\x05"})),
    GorillaCodec: GORILLA.dumps(
        Record(1, b"", {"user_id": GORILLA.encode(5, "user_id")})
    ),
}


@target
def native_record(data: bytes) -> None:
    """Load a record, with the right version and checksum or with its own."""
    source = Source(data)
    own = source.byte() % 2
    _read_record(NATIVE, source.rest() if own else with_checksum(source.rest()))


def with_checksum(body: bytes) -> bytes:
    return b"\x01" + zlib.crc32(body).to_bytes(4) + body


@target
def native_value(data: bytes) -> None:
    """Decode a value. It is rejected, or encoding it again keeps its meaning."""
    _read_value(NATIVE, data, "name")


# The gorilla format


@target
def gob_record(data: bytes) -> None:
    """Load a session's gob."""
    _read_record(GORILLA, data)


@target
def gob_value(data: bytes) -> None:
    """Decode the encoded value of a name, or of the flash messages."""
    source = Source(data)
    name = source.pick(["name", "_flash_"])
    _read_value(GORILLA, source.rest(), name)


@target
def gob(data: bytes) -> None:
    """Read a Go value. It is malformed, or can be written again."""
    try:
        written = _gob_written_again(data)
    except GobError:
        return
    assert _gob_written_again(written) == written


def _gob_written_again(data: bytes) -> bytes:
    reader = Reader(data)
    kind = reader.message()
    value = reader.top(kind)
    reader.finish()
    types = TypeTable()
    number = types.number(kind)
    writer = Writer(types)
    writer.signed(number)
    writer.top(kind, value)
    stream = Writer(types)
    for definition in types.definitions():
        stream.chunk(definition)
    stream.chunk(writer.data)
    return bytes(stream.data)


# Every codec


def _read_record(codec: Codec, data: bytes) -> None:
    try:
        record = codec.loads(data)
    except RejectedError as error:
        assert error.reason == "corrupt"
        return
    written = codec.dumps(record)
    again = codec.loads(written)
    assert distinct([*again.values.items()]) == distinct([*record.values.items()])
    assert codec.dumps(again) == written
    for name, value in record.values.items():
        _read_value(codec, value, name)


def _read_value(codec: Codec, data: bytes, name: t.Hashable) -> None:
    try:
        value = codec.decode(data, name)
    except SessionTypeError:
        return
    try:
        written = codec.encode(value, name, data)
    except SessionTypeError as error:
        # Decoding uses the stack of C. Encoding may need the stack of Python.
        assert "nested too deeply" in str(error)
        assert _depth(value) > 255
        return
    again = codec.decode(written, name)
    assert codec.encode(again, name, written) == written
    with contextlib.suppress(RecursionError):
        assert distinct(again) == distinct(value)
    with contextlib.suppress(SessionTypeError):
        assert codec.comparable(value, name) == codec.comparable(again, name)


def _depth(value: t.Any) -> int:
    """Return how deeply lists and other containers are nested."""
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [part for whole in level for part in _parts(whole)]
    return depth


def _parts(value: t.Any) -> c.Iterable[t.Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, Basket):
        return vars(value).values()
    if isinstance(value, GoStruct):
        return value.values()
    return value if isinstance(value, list | tuple | set | frozenset) else ()


def distinct(value: t.Any) -> t.Any:
    """Return an object that is equal only for values that do not differ at all."""
    kind = type(value).__name__
    if isinstance(value, float):
        return kind, struct.pack(">d", value)
    if isinstance(value, complex):
        return kind, struct.pack(">dd", value.real, value.imag)
    if isinstance(value, bool | int | str | bytes | Suit):
        return kind, value
    if isinstance(value, set | frozenset):
        return kind, sorted(map(repr, map(distinct, value)))
    if isinstance(value, GoStruct):
        return kind, value.go_type, distinct(dict(value))
    if isinstance(value, Basket):
        return kind, distinct(vars(value))
    if isinstance(value, dict):
        return kind, [distinct(pair) for pair in value.items()]
    if isinstance(value, list | tuple):
        return kind, [distinct(item) for item in value]
    if isinstance(value, GoOpaque):
        return kind, value.go_type, value.data
    # The repr of a time shows the fold and the zone.
    return kind, repr(value)


# Whole sessions


@target
def session(data: bytes) -> None:
    """Let a view read and write a record from a store or a sealed cookie."""
    source = Source(data)
    shop, view = source.pick(list(SHOPS)), source.pick(ASKED)
    check_session(shop, view, source.rest())


def check_session(name: str, view: str, record: bytes) -> None:
    """
    :param record: in the native format it may lack its version and checksum.
    """
    shop = SHOPS[name]
    if isinstance(shop.codec, NativeCodec) and record[:1] != b"\x01":
        record = with_checksum(record)
    try:
        held = shop.holding(record)
    except SessionTooLargeError:
        return
    answer = shop.ask(view, held)
    assert len(answer.rejections) <= 1
    if answer.new:
        assert answer.rejections == ["corrupt"]
    if view in WRITING:
        shop.ask("written", answer.cookie or held)
    if view == "write" and shop.server_side and not answer.new:
        before = shop.codec.loads(record).values
        after = shop.codec.loads(t.cast(bytes, shop.store.load(TOKEN))).values
        kept = [raw for name, raw in after.items() if name != "written"]
        assert sorted(kept) == sorted(
            raw for name, raw in before.items() if name != "written"
        )


# Settings


@target
def url(data: bytes) -> None:
    """Parse the URL of a store.

    It gives a store, or a documented error that quotes nothing.
    """
    source = Source(data)
    place = source.byte()
    text = source.rest().decode("utf-8", "surrogateescape")
    check_url(text[: place - 1] + CANARY + text[place - 1 :] if place else text)


def check_url(text: str) -> None:
    with _confined(text) as folder:
        if folder is None:
            return
        try:
            store_from_url(text, folder)
        except (StoreURLError, SessionConfigError, ImportError) as error:
            assert CANARY not in str(error)
        app = Flask("fuzz", instance_path=str(folder), static_folder=None)
        app.config["SESSION_STORE"] = text
        try:
            Config.of(app)
        except SessionConfigError as error:
            assert CANARY not in str(error)
            if CANARY in text.partition("://")[2] and not text.startswith("file:"):
                assert CANARY not in "".join(traceback.format_exception(error))


@contextlib.contextmanager
def _confined(url: str) -> c.Iterator[Path | None]:
    """Yield a folder for the stores, and refuse network connections.

    Yield None if the URL names a place outside of the folder.
    """
    connected: list[object] = []

    def refuse(*args: object) -> None:
        connected.append(args)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        if _leads_outside(folder, url):
            yield None
            return
        with (
            mock.patch.object(socket.socket, "connect", refuse),
            mock.patch.object(socket, "getaddrinfo", refuse),
        ):
            yield folder
    assert not connected, connected


def _leads_outside(folder: Path, url: str) -> bool:
    if not url.startswith("file:"):
        return False
    try:
        path = (folder / unquote(urlsplit(url).path)).resolve()
    except ValueError:
        # The URL names no place.
        return False
    return not path.is_relative_to(folder)


WORDS: dict[str, tuple[t.Any, ...]] = {
    "SESSION_NAME": ("sid", "__Host-sid", "__Secure-sid", "a b", "a\n"),
    "SESSION_STORE": (
        *("cookie", "null", "memory:", "memory:x"),
        *(f"{scheme}://user:{CANARY}@host:1/0?a=b" for scheme in SCHEMES),
        MemoryStore(),
        MemoryStore,
    ),
    "SESSION_FORMAT": ("native", "gorilla", GorillaFormat(SECRET), GorillaFormat),
    "SESSION_API": (),
    "SESSION_SECRET": (SECRET, b"\0" * 20, "\ud800" + CANARY),
    "SESSION_SECRET_FALLBACKS": ([SECRET], [SECRET, ""], (b"\0",), ["\ud800"]),
    "SESSION_ENCRYPT": (),
    "SESSION_IDLE_TIMEOUT": (60, 0.5, 10**20, -1),
    "SESSION_ABSOLUTE_TIMEOUT": (60, 0.5, 10**20, -1),
    "SESSION_AUTH_NAMES": (["user_id"], {1}, [([],)], ("user_id", None)),
    "SESSION_COOKIE_NAME": ("sid", "__Host-sid", "a b"),
    "SESSION_COOKIE_DOMAIN": ("example.org", ".b\u00fccher.de", "a..b", "a\nb", "a;b"),
    "SESSION_COOKIE_PATH": ("/", "/shop", "/\u00fc", "a\n;b", "\ud800"),
    "SESSION_COOKIE_HTTPONLY": (),
    "SESSION_COOKIE_SECURE": (),
    "SESSION_COOKIE_SAMESITE": ("Lax", "None", "Strict", "lax"),
    "SESSION_COOKIE_PARTITIONED": (),
    "MAX_COOKIE_SIZE": (0, 10, 4093, -1),
    "PERMANENT_SESSION_LIFETIME": (60, 0.5, 10**20, -1),
    "SESSION_REFRESH_EACH_REQUEST": (),
    "SECRET_KEY": (SECRET, b"\0" * 20),
    "SECRET_KEY_FALLBACKS": ([SECRET], [""]),
    "APPLICATION_ROOT": ("/", "/shop", "\ud800"),
}


@target
def settings(data: bytes) -> None:
    """Use values for settings and arguments.

    They work, or an error rejects them without showing them.
    """
    source = Source(data)
    wanted: dict[str, t.Any] = {"SESSION_SECRET": SECRET} if source.byte() % 2 else {}
    for _ in range(1 + source.byte() % 4):
        key = source.pick(list(WORDS))
        wanted[key] = source.value(WORDS[key])
    arguments: dict[str, t.Any] = {}
    for key in ("name", "store", "format", "api")[: source.byte() % 8]:
        arguments[key] = source.value(WORDS[f"SESSION_{key.upper()}"])
    try:
        if source.byte() % 4 == 0:
            keys, registered = source.values(), source.value([["main.Person"], [[]]])
            arguments["format"] = GorillaFormat(*keys, registered=registered)
    except SessionConfigError as error:
        assert CANARY not in str(error)
        return
    check_settings(wanted, arguments)


def check_settings(wanted: dict[str, t.Any], arguments: dict[str, t.Any]) -> None:
    stores = (arguments.get("store"), wanted.get("SESSION_STORE"))
    with _confined(next((text for text in stores if isinstance(text, str)), "")) as at:
        if at is not None:
            _started(at, wanted, arguments)


def _started(at: Path, wanted: dict[str, t.Any], arguments: dict[str, t.Any]) -> None:
    app = Flask("fuzz", instance_path=str(at), static_folder=None)
    app.logger.disabled = True
    app.config.update(wanted, PROPAGATE_EXCEPTIONS=True)
    try:
        config = Config.of(app, **arguments)
        BuffaloSession(app, **arguments)
    except SessionConfigError as error:
        # The error may show a valid name that contradicts another setting.
        if "SESSION_NAME '" not in str(error):
            assert CANARY not in str(error)
        return
    if type(config.store) not in (CookieStore, NullStore, MemoryStore):
        # The store has no server to connect to.
        return
    app.add_url_rule("/write", "write", VIEWS["write"])
    client = app.test_client()
    with contextlib.suppress(SessionSecretError, SessionTooLargeError):
        for _ in range(2):
            assert client.get("/write", base_url="http://localhost").text == "ok"
