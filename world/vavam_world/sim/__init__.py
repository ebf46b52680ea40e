"""What moves: the ego's dynamics, traffic, pedestrians, collisions. simulation.py is the door."""
