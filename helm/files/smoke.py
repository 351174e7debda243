"""Score, reward and read the statistics back, as a user that no other run has."""

import json
import os
import urllib.error
import urllib.request
import uuid

BASE = os.environ["SERVICE_URL"]
USER = f"helm-test-{uuid.uuid4()}"
# The service is in the cluster: a proxy that the environment names for the world outside does not know it.
OPEN = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def call(role: str, method: str, path: str, body: object = None) -> dict[str, object]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(BASE + path, data, {"Content-Type": "application/json"}, method=method)
    key = os.environ.get(f"{role.upper()}_KEY")
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with OPEN(request, timeout=10) as answer:
            decoded: dict[str, object] = json.load(answer)
            return decoded
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from None
    except OSError as error:
        raise SystemExit(f"{method} {path}: {error}") from None


def check() -> None:
    features = {"hour_of_day": 9, "is_overdue": True, "task_age_days": 2, "priority": 3}
    candidates = [{"id": name, "content": name, "source": "test", "features": features} for name in ("one", "two")]
    chosen = call("client", "POST", "/score", {"user_id": USER, "candidates": candidates})
    reward = {"user_id": USER, "tip_id": chosen["tip_id"], "reward": 1, "features": features}
    call("client", "POST", "/reward", reward)
    found = call("reader", "GET", f"/stats/{USER}")
    seen = found["pulls"], found["reward_count"], found["cumulative_reward"]
    if seen != (1, 1, 1.0):
        raise SystemExit(f"expected 1 pull, 1 reward, 1.0 in all; the statistics say {seen}")
    print(f"scored {chosen['tip_id']}, rewarded it, and read it back")


def reset() -> None:
    call("admin", "POST", f"/reset/{USER}")


# Both are tried, and all that went wrong is said.
problems = []
for step in (check, reset):
    try:
        step()
    except SystemExit as problem:
        problems.append(str(problem))
if problems:
    raise SystemExit("\n".join(problems))
