"""gRPC the way every service of the mesh speaks it: one edge in front of the servicers, one way to call others."""
