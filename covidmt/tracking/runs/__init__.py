"""Runs of the tracking store as a person sees them.

By name (`naming`), in a table (`table`), side by side (`settings`); and what of them could go (`cleaning`).
"""
