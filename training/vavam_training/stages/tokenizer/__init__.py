"""Stage 0: a tokenizer of the VQ-16 family."""
