"""What a run is worth: completion, comfort, the NeuroNCAP score."""
