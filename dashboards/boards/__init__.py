"""Leaderboards: which runs are one line, and tables of them as Markdown, CSV and HTML."""
