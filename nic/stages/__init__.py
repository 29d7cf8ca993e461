"""What the entry points do: a module for each stage, and modules for the steps that several stages share.

The functions take values and know no command line.
"""
