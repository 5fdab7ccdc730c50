"""Where sessions live: on a server, in the cookie, or nowhere."""
