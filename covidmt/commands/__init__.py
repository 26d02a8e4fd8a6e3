"""The commands of the command line, a file each or a group of them a file; `covidmt.cli` puts them together.

Heavy imports stay inside the commands, so that ``covidmt --help`` answers at once. Nothing here is to be imported from
outside.
"""
