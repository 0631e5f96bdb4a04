"""Commands for operators, which call the services' own gRPC."""
