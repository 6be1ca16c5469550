"""Where real images come from: sources decode them once, a stream maps a position to a batch."""
