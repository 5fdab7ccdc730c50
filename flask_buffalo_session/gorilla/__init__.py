"""Sessions shared with Go: gorilla/sessions, which Buffalo uses."""

from .files import GorillaFiles
from .format import GorillaFormat
from .reading import GoOpaque, GoStruct

__all__ = ["GoOpaque", "GoStruct", "GorillaFiles", "GorillaFormat"]
