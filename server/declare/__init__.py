"""What a user declares: services, methods and their parameters. Nothing here handles calls."""
