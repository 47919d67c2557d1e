"""What the parties say to each other, and nothing of how it travels or is kept."""
