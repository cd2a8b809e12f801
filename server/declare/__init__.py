"""What a user declares: a service, its methods, and the arguments that these take. It knows no call."""
