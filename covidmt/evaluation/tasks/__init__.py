"""How stable every task is on the pairs of its own source: what was answered, and what that is worth."""
