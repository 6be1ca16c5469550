"""Augmentation of what the discriminator sees: a class maps images to images of their shape."""
