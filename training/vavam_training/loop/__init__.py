"""From samples and a stage to trained weights: steps, processes, checkpoints, what is watched."""
