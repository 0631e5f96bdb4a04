"""The `feedmesh` command: start a mesh, fill it with a community, prove every feed right, and make tokens."""
