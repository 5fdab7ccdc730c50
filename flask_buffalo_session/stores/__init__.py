"""One file for each store. :mod:`.base` says what a store must promise."""
