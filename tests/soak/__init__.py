"""Soak test: simulated browsers use the shop while stores restart and workers die.

A model checks what each session must hold. ``python -m tests.soak chaos`` runs this
test. ``python -m tests.soak million`` keeps very many sessions and measures the memory
of the workers.
"""
