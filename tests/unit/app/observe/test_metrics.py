"""What is counted, as a scrape shows it."""

import asyncio

from app.messages.health import ConsumerHealth, NatsHealth
from app.observe.metrics import Metrics
from state.update.operation import Flush


def metrics() -> Metrics:
    return Metrics("1", ("p", "q"), {"q": 0.25})


def lines(counted: Metrics) -> set[str]:
    return set(counted.text().decode().splitlines())


def test_observations_fall_into_the_right_buckets() -> None:
    """A bucket holds what is at most its bound, as in Prometheus' own histograms."""
    counted = metrics()
    for seconds in (0.001, 0.0011, 2.5, 2.6):
        counted.answered("GET", "/x", 200, seconds)
    text = counted.text().decode()
    for bound, count in (("0.001", 1), ("0.002", 2), ("1.0", 2), ("2.5", 3), ("+Inf", 4)):
        label = f'le="{bound}",method="GET",route="/x",status="200"'
        assert f"oo_http_request_seconds_bucket{{{label}}} {count}.0\n" in text
    assert counted.text().decode().count(" 4.0\n") == text.count(" 4.0\n")


def test_flushes_and_unknown_words_are_bounded() -> None:
    """However many methods clients invent, they are one series."""
    counted = metrics()
    for number in range(100):
        counted.answered(f"METHOD{number}", "", 404, 0.001)
    counted.flushed(Flush(3, 0.002, 2, 1, "ConflictError"))
    text = counted.text().decode()
    assert 'oo_http_request_seconds_count{method="other",route="(none)",status="404"} 100.0' in text
    assert "METHOD" not in text
    assert 'oo_store_errors_total{error="ConflictError"} 1.0' in text
    assert "oo_store_conflicts_total 2.0" in text
    assert "oo_store_retries_total 1.0" in text


def test_series_exist_before_the_first_event() -> None:
    """increase() sees only what grows from a known value: each series that a rule asks for starts at 0."""
    counted = metrics()
    counted.expect(["", "/score"])
    counted.watch(lambda: NatsHealth(enabled=True, consumers={"signals": consumer}))
    assert lines(counted) >= {
        'oo_http_request_seconds_count{method="POST",route="/score",status="503"} 0.0',
        'oo_http_request_seconds_count{method="POST",route="(none)",status="500"} 0.0',
        'oo_decisions_total{explored="true",policy="p"} 0.0',
        'oo_rewards_total{policy="p",value="-0.5"} 0.0',
        'oo_rewards_replayed_total{policy="q"} 0.0',
        'oo_store_errors_total{error="StoreUnavailable"} 0.0',
        'oo_events_total{consumer="signals",outcome="dead_lettered"} 0.0',
        'oo_events_running{consumer="signals"} 1.0',
        'oo_llm_generations_total{outcome="LlmFailed"} 0.0',
        'oo_llm_tokens_total{kind="completion"} 0.0',
        'oo_policy_epsilon{policy="q"} 0.25',
        'oo_build_info{version="1"} 1.0',
        "oo_http_requests_refused_total 0.0",
        "oo_rate_limit_unknown_total 0.0",
    }


consumer = ConsumerHealth("running", None, 0, 0, 0, 0, 0, None)


def test_each_call_counts_its_own() -> None:
    """Decisions, rewards by the nearest value, replays, events, generations and requests in flight."""
    counted = metrics()
    counted.decided("p", explored=True)
    for reward in (-1, -0.4, 0.4, 1):
        counted.rewarded("p", reward, replayed=False)
    counted.rewarded("p", 1, replayed=True)
    counted.event("signals", "failed")
    counted.pending("signals", 7)
    counted.generated("ok", tries=2, prompt_tokens=3, completion_tokens=4, seconds=5)
    counted.refused()
    counted.uncounted()
    counted.inside, counted.most = 3, 9
    assert lines(counted) >= {
        'oo_decisions_total{explored="true",policy="p"} 1.0',
        'oo_decisions_total{explored="false",policy="p"} 0.0',
        'oo_rewards_total{policy="p",value="-1"} 1.0',
        'oo_rewards_total{policy="p",value="-0.5"} 1.0',
        'oo_rewards_total{policy="p",value="0"} 0.0',
        'oo_rewards_total{policy="p",value="0.5"} 1.0',
        'oo_rewards_total{policy="p",value="1"} 1.0',
        'oo_rewards_replayed_total{policy="p"} 1.0',
        'oo_events_total{consumer="signals",outcome="failed"} 1.0',
        'oo_events_pending{consumer="signals"} 7.0',
        'oo_llm_generations_total{outcome="ok"} 1.0',
        "oo_llm_tries_total 2.0",
        'oo_llm_tokens_total{kind="prompt"} 3.0',
        'oo_llm_tokens_total{kind="completion"} 4.0',
        "oo_llm_generation_seconds_sum 5.0",
        "oo_http_requests_refused_total 1.0",
        "oo_rate_limit_unknown_total 1.0",
        "oo_http_requests_inflight 3.0",
        "oo_http_requests_inflight_limit 9.0",
    }


def test_a_process_alone_shares_nothing() -> None:
    """Nothing is left running."""
    asyncio.run(metrics().keep_settled())
