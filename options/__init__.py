"""Options as data: an `Option` beside its type describes each option once.

It yields the default, the check, the command-line option, the environment variable, the key in a
configuration file and the row in the documentation.
"""
