"""What holds for every test."""

from hypothesis import HealthCheck, settings

# The machine may be busy: how long an example takes says nothing.
settings.register_profile("feedmesh", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("feedmesh")
