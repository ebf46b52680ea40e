"""What is in a token set, for people: numbers of its drives, windows and tokens (numbers, motion, tokens), what is odd about them (findings), one page."""

from vavam_training.checking.numbers import DriveNumbers, SetNumbers, look_at

__all__ = ["DriveNumbers", "SetNumbers", "look_at"]
