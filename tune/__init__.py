"""Which settings of `ringback serve` suit a service, learned by trying them: `ringback tune`.

A layer above `compare`, whose processes, windows and statistics it uses.
"""
