"""Run the test suites of Flask and its extensions with the session of this package."""
