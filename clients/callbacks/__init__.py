"""What a client calls back, and the threads and futures for it."""
