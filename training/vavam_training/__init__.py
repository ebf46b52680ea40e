"""From raw drives to the model that the nodes load.

The way of the data: sources → tokenizing → dataset → windows → mixing → stages (on loop) → evaluation → export.
"""
