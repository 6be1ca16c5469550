"""One training run, from the gates to its last line."""
