"""Where sessions were kept before, for the setting ``SESSION_PREVIOUS``."""
