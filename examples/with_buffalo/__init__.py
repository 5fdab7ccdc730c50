"""A Flask and a Go application that share one session."""
