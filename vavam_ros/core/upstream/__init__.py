"""Checkpoints of the published implementations in: names (key_table), divisors (mup_shapes), files without unpickling what is foreign (foreign_pickle)."""
