"""Road networks from seeds, and routes through them."""
