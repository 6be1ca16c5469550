"""Augmentation of what the critic sees: a class maps a batch of images to one of the same shape."""
