"""Declarations by users: services, methods and their parameters. Nothing here handles calls."""
