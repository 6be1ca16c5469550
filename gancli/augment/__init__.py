"""Augmentation of what the critic sees: each class maps a batch of images to one of the same
shape."""
