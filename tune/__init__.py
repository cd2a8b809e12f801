"""`ringback tune`: find the settings of `ringback serve` that suit a service, by trying them.

It uses the processes, slices and statistics of `compare`.
"""
