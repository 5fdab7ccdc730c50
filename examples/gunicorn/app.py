"""Sessions in Redis, shared by four workers.

pip install 'flask-buffalo-session[redis]' gunicorn
cd examples/gunicorn
SESSION_SECRET=... SESSION_STORE=redis://localhost:6379/0 gunicorn app:app
"""

import os

from flask import Flask

from flask_buffalo_session import BuffaloSession, session
from flask_buffalo_session.errors import SessionStoreError

app = Flask(__name__)
app.config["SESSION_STORE"] = os.environ.get(
    "SESSION_STORE", "redis://localhost:6379/0"
)
BuffaloSession(app)


@app.post("/visit/<page>")
def visit(page):
    # Other workers may write at the same time: the session merges their changes.
    session[page] = session.get(page, 0) + 1
    return {"worker": os.getpid()}


@app.get("/")
def visits():
    return dict(session)


@app.errorhandler(SessionStoreError)
def away(error):
    return "Please try again in a minute.", 503
