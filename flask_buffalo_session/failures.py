"""Answer a request whose session could not be saved."""

from __future__ import annotations

from flask import Flask, Response


def answer_failure(app: Flask, response: Response, error: Exception) -> None:
    """Let the application's error handlers answer instead of the view.

    Flask calls error handlers only for errors before the response was made. Without a
    handler for the error, Flask's handler for 500 answers.

    :param response: the view's response; it is replaced in place.
    """
    answer = app.make_response(app.handle_user_exception(error))
    app.logger.warning("The session could not be saved: %s", error)
    _replace(response, app.process_response(answer))


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
