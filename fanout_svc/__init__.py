"""Fan-out: a post's way from its author into every follower's timeline."""
