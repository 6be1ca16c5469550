"""Numbers that say how good samples are: mathematics on features, probabilities and images."""
