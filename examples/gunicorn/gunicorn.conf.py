"""Settings that gunicorn reads from the folder it is started in."""

import os

bind = f"127.0.0.1:{os.environ.get('PORT', '5000')}"
workers = 4
# Load the application once, before gunicorn forks the workers. The store connects
# to Redis at the first request, so the workers do not share a connection.
preload_app = True
