"""What sessions cost a request, measured. ``python -m benchmarks`` runs it all
and puts the tables into ``docs/performance.md``.

To compare more, add a :class:`.suite.Suite` to :data:`.suites.SUITES`.
"""
