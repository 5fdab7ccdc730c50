"""A small shop that shows what its session holds and what it costs."""
