"""How tables look in a terminal of any width."""
