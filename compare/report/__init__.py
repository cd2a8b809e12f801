"""Outputs for people: the table, the page, files, conditions, and changes between runs."""
