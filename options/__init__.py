"""Options as data. One description of each option, an `Option` beside its type, makes its default, its check, its option on the command
line, its environment variable, its key in a configuration file and its row in the documentation.
"""
