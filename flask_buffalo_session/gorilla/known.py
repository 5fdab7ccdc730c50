"""Which Go types the Go program can read."""

from __future__ import annotations

import collections.abc as c
import functools

from ..errors import SessionTypeError
from ..values import ValuePath
from .gob.types import GobType, closure
from .gotypes import ALWAYS_REGISTERED, UUID_NAME, folded, spellings


class KnownTypes:
    """The Go types that a Go program can read from an interface: those that it has
    registered, and those that the session holds already.

    :param registered: the names of the types that are registered. None: all types.
    :param held: returns the types that interfaces in the session name, by that name.
        It is called when the registered types are not enough, because it parses the
        session's values.
    """

    def __init__(
        self,
        registered: frozenset[str] | None,
        held: c.Callable[[], dict[str, GobType]] = dict,
    ) -> None:
        self._registered = registered
        self._find_held = held

    @property
    def unlimited(self) -> bool:
        """Whether Go can read every type."""
        return self._registered is None

    def can_read(self, name: str) -> bool:
        return (
            self._registered is None
            or name in self._registered
            or name in ALWAYS_REGISTERED
            or name in self._held
        )

    def check(self, name: str, example: str, path: ValuePath) -> None:
        """Check that Go can read a type.

        :param example: a value of the type, in Go.
        :raises SessionTypeError: Go cannot.
        """
        if not self.can_read(name):
            raise SessionTypeError(
                str(path),
                f"Go could not read a {name} unless it is registered: add"
                f" gob.Register({example}) to the Go program, and here"
                f" GorillaFormat(registered=[{name!r}])",
            )

    def uuid_name(self, path: ValuePath) -> str:
        """Return the name of the Go type for a UUID.

        :raises SessionTypeError: Go cannot read any such type.
        """
        for names in (self._registered or frozenset(), self._held):
            found = sorted(name for name in names if UUID_NAME.fullmatch(name))
            if found:
                return found[0]
        name = "github.com/gofrs/uuid.UUID"
        self.check(name, "uuid.UUID{}", path)
        return name

    def struct(self, go_name: str, fields: c.Set[str]) -> GobType | None:
        """Return the type of a struct that the session holds already, or None.

        gob matches fields by their exact names and types, so Go's own type is better
        than what a dataclass's annotations say.

        :param fields: the folded Go names of the dataclass's fields.
        """
        names = spellings(go_name)
        for name, kind in self._held.items():
            if kind.kind == "struct" and name.lstrip("*") in names:
                return kind
        # A struct that is part of another value has no package. So it may be another
        # struct, which has other fields.
        bare = go_name.rpartition(".")[2].lstrip("*")
        parts = (part for kind in self._held.values() for part in kind.parts)
        found = [
            kind
            for kind in closure(parts)
            if kind.kind == "struct"
            and kind.name == bare
            and fields <= set(map(folded, kind.fields))
        ]
        return found[0] if len(found) == 1 else None

    @functools.cached_property
    def _held(self) -> dict[str, GobType]:
        return self._find_held()
