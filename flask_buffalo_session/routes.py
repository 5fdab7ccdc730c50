"""Routes that the application treats differently: those without a session, and those
that do not keep the session alive.
"""

from __future__ import annotations

import weakref

from flask import Blueprint, Flask, Request

from .errors import kind_of


class Routes:
    """Views, view classes and blueprints that an application has chosen.

    :param call: the name of the method that chooses them.
    """

    def __init__(self, call: str) -> None:
        self._call = call
        # Chosen views get this attribute.
        self._attribute = f"_buffalo_session_{call}"
        #: Whether anything was chosen. Most applications choose nothing, and checking
        #: this first spares each request three calls.
        self.chosen = False
        self._blueprints: weakref.WeakSet[Blueprint] = weakref.WeakSet()

    def add(self, target: object) -> None:
        """Choose a view function, a view class or a blueprint.

        :raises TypeError: the target is none of them.
        """
        if isinstance(target, Blueprint):
            self._blueprints.add(target)
        elif isinstance(target, Flask) or not callable(target):
            raise TypeError(
                f"{self._call}() needs a view function, a view class or a blueprint,"
                f" not {kind_of(target)}."
            )
        else:
            # functools.wraps copies the view's attributes to a decorated view.
            setattr(target, self._attribute, True)
        self.chosen = True

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
