"""The parts of a call: its arguments, and the results and futures that its caller gets."""
