"""What KKT candidates are worth: matched with the training images, scored, and held against honest nulls."""
