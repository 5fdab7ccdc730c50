"""Measure what sessions cost a request.

``python -m benchmarks`` runs all measurements and writes the tables into
``docs/reference/performance.md``. To compare more, add a :class:`.suite.Suite` to
:data:`.suites.SUITES`.
"""
