"""Measure what sessions cost a request.

``python -m benchmarks`` runs all measurements and writes the tables into
``docs/reference/performance.md``. To compare more in one process, add a
:class:`.suite.Suite` to :data:`.suites.SUITES`. To compare more under load, add a
:class:`.sites.Match` to :data:`.sites.MATCHES`.

``python -m benchmarks.check`` checks that no request takes more instructions than
stored.
"""
