"""Kill the project's commands at random moments, repeat them, and count what was lost."""
