"""What a model is worth: trajectories (open_loop), video (video, frechet), semantics, scaling laws, and the pages that show it."""
