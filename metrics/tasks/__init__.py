"""Scores of every task's stability: decisions of all labels, boxes that are found or not, boxes outside the lungs."""
