"""What a call of a client is made of, and what its caller gets of it."""
