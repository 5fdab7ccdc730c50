"""Sessions shared with Go: gorilla/sessions, which Buffalo uses."""

from .decode import GoOpaque, GoStruct
from .files import GorillaFiles
from .format import GorillaFormat

__all__ = ["GoOpaque", "GoStruct", "GorillaFiles", "GorillaFormat"]
