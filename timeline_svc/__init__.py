"""Home timelines: packed, pushed to, rebuilt by pull, and read."""
