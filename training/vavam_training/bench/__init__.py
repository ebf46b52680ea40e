"""How fast training is, as ratios within one run: `python -m vavam_training.bench`."""
