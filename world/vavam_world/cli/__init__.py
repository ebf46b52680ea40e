"""`world …`: run, drive, record, evaluate."""
