"""Many calls of one method in one message: how each kind of them is run, and how their outcomes come together."""
