"""gancli trains every kind of GAN from the command line; a GAN is a game, see game.py."""
__version__ = "0.1.0"
