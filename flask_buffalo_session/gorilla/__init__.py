"""Sessions shared with Go: gorilla/sessions, which Buffalo uses."""

from .format import GorillaFormat
from .values import GoOpaque, GoStruct

__all__ = ["GoOpaque", "GoStruct", "GorillaFormat"]
