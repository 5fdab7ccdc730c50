"""Routes that the application treats differently: those without a session, and those
that do not keep the session alive.
"""

from __future__ import annotations

import weakref

from flask import Blueprint, Flask, Request


class Routes:
    """Views, view classes and blueprints that an application has chosen.

    :param attribute: the name of the attribute that chosen views get.
    """

    def __init__(self, attribute: str) -> None:
        self._attribute = attribute
        #: Whether anything was chosen. Most applications choose nothing, and checking
        #: this first spares each request three calls, 2 % of one that reads.
        self.chosen = False
        self._blueprints: weakref.WeakSet[Blueprint] = weakref.WeakSet()

    def add(self, target: object) -> None:
        """Choose a view function, a view class or a blueprint."""
        self.chosen = True
        if isinstance(target, Blueprint):
            self._blueprints.add(target)
        else:
            # functools.wraps copies the view's attributes to a decorated view.
            setattr(target, self._attribute, True)

    def include(self, app: Flask, request: Request) -> bool:
        """Return whether the matched route was chosen."""
        endpoint = request.endpoint
        if endpoint is None:
            return False
        view = app.view_functions.get(endpoint)
        return (
            getattr(view, self._attribute, False)
            or getattr(getattr(view, "view_class", None), self._attribute, False)
            or any(
                app.blueprints.get(name) in self._blueprints
                for name in request.blueprints
            )
        )
