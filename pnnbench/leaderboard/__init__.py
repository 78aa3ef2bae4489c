"""Records in, numbers out: statistics, comparison, ranking. Draws nothing.

Nothing here imports torch or lightning: the leaderboard is read from JSON records alone.
"""
