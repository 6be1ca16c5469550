"""Networks: plain modules that know sizes, widths and labels, and nothing of losses, data or
training."""
