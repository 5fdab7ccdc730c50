"""Answer a request whose session could not be saved."""

from __future__ import annotations

import collections.abc as c
import inspect
import typing as t

from flask import Flask, Response
from flask.globals import app_ctx


def answer_failure(
    app: Flask, response: Response, error: Exception, title: str
) -> None:
    """Let the application's error handlers answer instead of the view.

    Flask calls error handlers only for errors before the response was made. Without a
    handler for the error, Flask's handler for 500 answers.

    :param response: the view's response; it is replaced in place.
    :param title: what the log calls the session.
    """
    try:
        raise error
    except Exception:  # noqa: BLE001 - any error may end a save
        # Flask raises the error that is being handled if there is no handler for it.
        answer = app.make_response(_call(app.handle_user_exception, error))
    app.logger.warning("%s could not be saved: %s", title, error)
    _replace(response, _call(app.process_response, answer))


def _call(method: c.Callable[..., t.Any], argument: object) -> t.Any:
    """Call a method of an application with one argument.

    Since Flask 3.2 such a method takes the context before it. An application may still
    override the method as for an earlier Flask, so the method itself decides.
    """
    required = [
        parameter
        for parameter in inspect.signature(method).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind
        in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if len(required) < 2:
        return method(argument)
    return method(app_ctx._get_current_object(), argument)  # type: ignore[attr-defined]


def _replace(response: Response, answer: Response) -> None:
    """Replace a response in place, because Flask keeps a reference to it."""
    close = getattr(response.response, "close", None)
    if close is not None:
        close()
    response.response = answer.response
    response.status = answer.status
    response.headers = answer.headers
    response.direct_passthrough = answer.direct_passthrough
    response.call_on_close(answer.close)
