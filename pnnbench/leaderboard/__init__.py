"""Records on disk, their statistics, the ranking, its rendering and the W&B mirror.

Nothing here imports torch or lightning: the leaderboard is read from JSON records alone.
"""
