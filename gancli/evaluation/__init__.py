"""Numbers about a generator, while it trains and afterwards."""
