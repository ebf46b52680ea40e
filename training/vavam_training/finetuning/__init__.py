"""A model goes on learning from one's own bags: what it is before, the run, what it is after, and the directory that the nodes load."""
