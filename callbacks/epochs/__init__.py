"""What the epochs of a training gave: `history` keeps the validations, `lines` prints one line an epoch."""
