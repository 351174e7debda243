"""A run that breaks a whole system under load and counts what was acknowledged: `./dev chaos`."""
