"""What an evaluation says of other runs beside the first one, and of where its images are from."""
