"""What a server keeps of each method that it serves: where its calls wait and run, what became of them, and the keys of those that run
once.
"""
