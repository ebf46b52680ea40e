"""What was: odometry by stamp, token frames on the model's time grid, and the pacing that both live runs and replay follow."""
