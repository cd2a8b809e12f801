"""The experiment: the request, the child processes, the time budget and the rounds."""
