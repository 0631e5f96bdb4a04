"""The small app beside Envoy: what is no call of a service. It takes and serves the media of a mesh on one machine.

It listens for Envoy only, which bounds what clients may ask for, and says which web pages may ask.
"""
