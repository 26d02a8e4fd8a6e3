"""What an evaluation says of other runs beside the first one, of images left out, and of where images are from."""
