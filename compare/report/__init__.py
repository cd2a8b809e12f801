"""What a person gets to see: the table, the page, files, conditions, and what changed."""
