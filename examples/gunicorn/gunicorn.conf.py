"""gunicorn reads this by itself."""

import os

bind = f"127.0.0.1:{os.environ.get('PORT', '5000')}"
workers = 4
# The application is made once, before the workers are forked: no connection to
# Redis exists by then.
preload_app = True
