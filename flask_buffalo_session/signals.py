"""Signals, sent with the application as their sender.

Each carries ``session_id``: the hash under which a server-side store keeps the
record, or by which a cookie session is ended; None on a cookie store without a
list of ended sessions. None of them carries a value, a cookie or an id, so
receivers may log what they get.
"""

from __future__ import annotations

from blinker import Namespace

_signals = Namespace()

#: A session was saved for the first time.
session_created = _signals.signal("session-created")

#: A session's changes were saved.
session_saved = _signals.signal("session-saved")

#: A session was ended by ``clear()`` or ``destroy()``.
session_destroyed = _signals.signal("session-destroyed")

#: A cookie or a record was refused. Also carries ``reason``, one of
#: :data:`flask_buffalo_session.errors.REASONS`.
session_rejected = _signals.signal("session-rejected")

#: Changes were dropped, because the session had ended in the meantime.
session_conflict = _signals.signal("session-conflict")
