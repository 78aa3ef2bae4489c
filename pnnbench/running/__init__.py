"""Suites, jobs and training: what runs, and how it is resumed."""
