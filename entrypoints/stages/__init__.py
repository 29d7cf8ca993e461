"""What the entry points do, one module each. They are imported once the command line is understood."""
