"""What lungs are: the settings of their masks with the two conventions, and the poses that a segmenter tells."""
