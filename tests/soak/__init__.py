"""The soak: simulated browsers use the shop for a time while its store is restarted and
its workers are killed, and a model says what their sessions must hold.

``python -m tests.soak chaos`` for that, ``python -m tests.soak million`` for very many
sessions and the memory of the workers.
"""
