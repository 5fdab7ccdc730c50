"""A cart that lasts for 90 days beside a login that lasts for an hour.

Run it with ``flask --app examples/cart run --debug``.
"""

import os
from datetime import timedelta

from flask import Flask, redirect, render_template_string

from flask_buffalo_session import BuffaloSession, session

app = Flask(__name__)
app.config["SESSION_STORE"] = os.environ.get("SESSION_STORE") or "cookie"
app.config["SESSION_IDLE_TIMEOUT"] = timedelta(hours=1)
buffalo = BuffaloSession(app)
cart = buffalo.named("cart", idle_timeout=timedelta(days=90))

PAGE = """<!doctype html><title>Cart</title>
<p>You are {{ session.get("user", "not logged in") }}.</p>
<ul>{% for sku, count in cart["items"].items() %}
<li>{{ sku }}: {{ count }}</li>{% endfor %}</ul>
<form method="post" action="/add/tea"><button>Add tea</button></form>
<form method="post" action="/login/ann"><button>Log in as ann</button></form>
<form method="post" action="/logout"><button>Log out</button></form>"""


@app.get("/")
def home():
    return render_template_string(PAGE, cart={"items": cart.get("items", {})})


@app.post("/add/<sku>")
def add(sku):
    cart.permanent = True  # the browser keeps the cart's cookie when it closes
    items = cart.setdefault("items", {})
    items[sku] = items.get(sku, 0) + 1
    return redirect("/")


@app.post("/login/<user>")
def login(user):
    session.authenticate()
    session["user"] = user
    return redirect("/")


@app.post("/logout")
def logout():
    session.clear()  # the cart stays
    return redirect("/")
