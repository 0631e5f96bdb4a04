"""The graph's contract, translated to and from the services: a module for each service of the contract."""
