"""The experiment: what is to be measured, the processes, and how the time is spent."""
