from flask import Flask, redirect

from flask_buffalo_session import BuffaloSession, session

app = Flask(__name__)  # flask --app examples/hello run --debug
BuffaloSession(app)


@app.get("/login/<name>")
def login(name):
    session.regenerate()
    session.set("user", name)
    session.set("flash", f"Welcome, {name}!")
    return redirect("/")


@app.get("/")
def home():
    return {"flash": session.get_once("flash"), "user": session.get("user")}
