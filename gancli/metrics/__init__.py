"""Numbers that say how good samples are: pure mathematics on features, probabilities, points and
images.
"""
