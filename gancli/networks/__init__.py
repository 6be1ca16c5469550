"""Networks: plain modules that know sizes, widths and labels.

They know nothing of losses, data or training.
"""
