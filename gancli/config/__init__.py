"""From the command line to one checked, built config."""
