"""Log in with Flask-Login, see where you are logged in, and log out elsewhere.

Run it with ``flask --app examples/login run --debug``. It needs ``flask-login``.
The users are ann and ben, and their password is "open sesame".
"""

import os

from flask import Flask, flash, redirect, render_template_string, request, url_for
from flask_login import (
    LoginManager,
    UserMixin,
    current_user,
    login_required,
    login_user,
    logout_user,
)
from werkzeug.security import check_password_hash, generate_password_hash

from flask_buffalo_session import BuffaloSession, session

app = Flask(__name__)
# Any store on a server can list the sessions of a user. A cookie cannot.
app.config["SESSION_STORE"] = os.environ.get("SESSION_STORE") or "memory:"
buffalo = BuffaloSession(app)
logins = LoginManager(app)
logins.login_view = "login"

# An application has a table of users instead.
PASSWORDS = dict.fromkeys(("ann", "ben"), generate_password_hash("open sesame"))
# Checking an unknown name takes as long as checking a known one.
NOBODY = generate_password_hash(os.urandom(16).hex())

PAGE = """<!doctype html><title>Login</title>
{% for message in get_flashed_messages() %}<p>{{ message }}</p>{% endfor %}
{% if current_user.is_authenticated %}
<p>You are {{ current_user.id }}, logged in here:</p>
<ul>{% for login in sessions %}
<li>{{ "this browser" if login.current else "another browser" }},
since {{ login.created_at.isoformat(" ", "seconds") }}</li>{% endfor %}</ul>
<form method="post" action="{{ url_for('logout_elsewhere') }}">
<button>Log out elsewhere</button></form>
<form method="post" action="{{ url_for('logout') }}"><button>Log out</button></form>
{% else %}
<form method="post">
<input name="name" placeholder="name"> <input name="password" type="password">
<button>Log in</button></form>
{% endif %}"""


class User(UserMixin):
    def __init__(self, name):
        self.id = name


@logins.user_loader
def load_user(name):
    return User(name) if name in PASSWORDS else None


@app.route("/login", methods=["GET", "POST"])
def login():
    if request.method == "POST":
        name = request.form["name"]
        known = PASSWORDS.get(name, NOBODY)
        if check_password_hash(known, request.form["password"]):
            login_user(User(name))  # the session gets a new id
            session.bind(name)  # so that sessions_of() and revoke_all() find it
            return redirect(url_for("home"))
        flash("Wrong name or password.")
    return render_template_string(PAGE)


@app.get("/")
@login_required
def home():
    return render_template_string(PAGE, sessions=buffalo.sessions_of(current_user.id))


@app.post("/logout")
@login_required
def logout():
    logout_user()
    session.clear()  # also the values that are not Flask-Login's
    return redirect(url_for("login"))


@app.post("/logout-elsewhere")
@login_required
def logout_elsewhere():
    ended = buffalo.revoke_all(current_user.id, keep=session.id)
    flash(f"Logged out elsewhere: {ended}.")
    return redirect(url_for("home"))
