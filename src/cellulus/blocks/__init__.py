"""Work on a grid too large for memory: which pieces, what is done, by whom, and what is left."""
