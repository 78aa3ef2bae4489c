"""Records on disk: their shape, how they are sealed and read, what can be wrong with them.

Nothing here imports torch or lightning.
"""
