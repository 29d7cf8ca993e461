"""A registered patient model that answers requests: what it may open, within which limits, and its answers."""
