"""A policy file with a feature of every kind."""

__all__ = ["FEATURES", "PUSH"]

FEATURES = """
[features]
hour = { of = "context", field = "hour_of_day", kind = "cycle", period = 24, default = 12 }
saturday = { of = "context", field = "day_of_week", kind = "member", values = [5] }
late = { of = "candidate", field = "is_late", kind = "flag" }
age = { of = "candidate", field = "days", kind = "number", min = 0, max = 30 }
price = { of = "candidate", kind = "number", min = 0, max = 100, missing = "column" }
pause = { of = "user", field = "hours_away", kind = "bins", edges = [1, 6.5, 24] }
channel = { of = "candidate", kind = "category", values = ["push", "mail"] }
arm = { of = "candidate", field = "id", kind = "category", values = ["a", "b"], default = "a" }
topics = { of = "candidate", kind = "hash", buckets = 4 }
taste = { of = "candidate", kind = "vector", size = 3 }
volume = { of = "user", field = "sent", kind = "number", min = 0, max = 100, scale = "log" }
peak = { of = "user", field = "best_hour", kind = "alignment", with = "hour_of_day", period = 24, default = 0.5 }
"""

PUSH = f"""{FEATURES}
[policies.push]
columns = ["1", "late", "age*age", "hour*late"]
cross = [["1", "hour", "saturday"], ["1", "late", "age", "channel"]]
explore = {{ by = "linucb", alpha = 0.2, floor = 0.02 }}
forget = 0.998
prior = "population"

[loops.push]
champion = "push"
shadows = ["tips-v3"]
window = "24h"
reward = {{ min = -1, max = 1 }}
default_reward = 0.0
"""
