"""How often, and how fast, a write is tried again that conflicts with another's."""

from __future__ import annotations

import collections.abc as c
import random
import time

from .errors import SessionConflictError

#: Each conflict means that another request was saved. So a save fails only while this
#: many others are saved.
ATTEMPTS = 200


def attempts() -> c.Iterator[None]:
    """Yield once for each attempt, and wait between them.

    :raises SessionConflictError: every attempt conflicted.
    """
    for attempt in range(ATTEMPTS):
        if attempt > 1:
            # There is mostly no second conflict, so only a third attempt waits.
            longest = min(0.05, 0.0005 * 2 ** min(attempt, 7))
            time.sleep(random.uniform(0, longest))  # noqa: S311 - only spreads the load
        yield
    raise SessionConflictError(
        f"The session could not be saved: other requests changed it {ATTEMPTS} times"
        " in a row. Try again."
    )
