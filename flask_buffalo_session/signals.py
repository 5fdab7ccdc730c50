"""Signals, sent with the application as their sender.

Each signal carries ``session_id``: the hash under which a server-side store keeps the
record, or under which a revocation list keeps the id. It is None on a cookie store
without ``SESSION_REVOCATION``. Each signal also carries ``name``: the name of the
session, as the extension's ``named`` defined it, or None for the main session. No
signal carries a value, a cookie or an id, so receivers may log what they get.
"""

from __future__ import annotations

from blinker import Namespace

_signals = Namespace()

#: A session was saved for the first time.
session_created = _signals.signal("session-created")

#: A session's changes were saved.
session_saved = _signals.signal("session-saved")

#: A session got a new id, by a login, ``regenerate()`` or its age. Also carries
#: ``old_id``, the hash of the id that was retired.
session_regenerated = _signals.signal("session-regenerated")

#: ``clear()``, ``destroy()`` or ``revoke`` ended a session.
session_destroyed = _signals.signal("session-destroyed")

#: A cookie or a record was rejected. Also carries ``reason``, one of
#: :data:`~flask_buffalo_session.errors.REASONS`.
session_rejected = _signals.signal("session-rejected")

#: Changes were dropped, because the session had ended in the meantime.
session_conflict = _signals.signal("session-conflict")
