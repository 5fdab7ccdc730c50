"""Pages with a session and an API without one, in one application.

Run it with ``flask --app examples/api run --debug``. An application that
is only an API sets ``SESSION_API = True`` instead, and needs no secret.
"""

from flask import Blueprint, Flask

from flask_buffalo_session import BuffaloSession, session

app = Flask(__name__)
buffalo = BuffaloSession(app)

# A view of an exempt blueprint never reads the store or sends a cookie or ``Vary``.
api = buffalo.exempt(Blueprint("api", __name__, url_prefix="/api"))


@api.get("/status")
def status():
    return {"status": "ok", "visits": session.get("visits", 0)}


@app.get("/")
def home():
    session["visits"] = session.get("visits", 0) + 1
    return f"Visit {session['visits']}. The API sees none: /api/status"


app.register_blueprint(api)
