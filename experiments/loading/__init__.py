"""What `experiments.load` is made of: where settings stand, and what becomes of those of another choice."""
