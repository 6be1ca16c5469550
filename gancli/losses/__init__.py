"""Adversarial losses: an objective, named penalties, and how the critic is kept.

None of them sees a network.
"""
