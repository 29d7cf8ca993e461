"""A registered patient model as it answers requests: what it opens, within which limits, and what it says."""
