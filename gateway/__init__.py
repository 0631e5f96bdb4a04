"""The gateway: Envoy in front of the services, configured from the contracts' own descriptors."""
