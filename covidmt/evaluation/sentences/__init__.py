"""What an evaluation says of other runs, of accuracies, of images left out, and of where its images are from."""
