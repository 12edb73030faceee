"""Family 03: initialization, optimizers, schedules, normalization, distribution, landscapes."""
