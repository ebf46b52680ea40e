"""Pictures of any source → a token set."""
