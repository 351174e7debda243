"""The metrics of loops, one row each, as in `app.observe.series`: who serves them, and what `judge` found."""

from typing import Final

from app.observe.series import Level

__all__ = ["CANARY", "DELAY", "E_VALUE", "GATE", "JOINED", "JUDGED", "NEEDED", "PROBLEMS", "REWARD", "STATE"]

_LOOP: Final = ("loop",)
_CHALLENGER: Final = ("loop", "policy")

STATE: Final = Level(
    "oo_loop_state",
    "The state of a loop by which the replica decides; 0: its policy file says",
    "mostrecent",
    _LOOP,
)
CANARY: Final = Level("oo_loop_canary_share", "Share of the decisions that a canary serves", "mostrecent", _CHALLENGER)

# What `judge` found in the log, at its last run

JUDGED: Final = Level("oo_loop_judged_timestamp_seconds", "When the evidence of a loop was made", "mostrecent", _LOOP)
PROBLEMS: Final = Level(
    "oo_loop_problems", "Why the rewards of a loop cannot be trusted: how many reasons", "mostrecent", _LOOP
)
JOINED: Final = Level(
    "oo_loop_rewarded_ratio",
    "Share of the decisions whose window closed, over a day or the week before it, that found a reward",
    "mostrecent",
    ("loop", "over"),
)
DELAY: Final = Level(
    "oo_loop_reward_delay_seconds",
    "Median time from a decision to its first outcome, over the last day",
    "mostrecent",
    _LOOP,
)
REWARD: Final = Level(
    "oo_loop_reward_mean", "Mean reward of the decisions whose window closed in the last day", "mostrecent", _LOOP
)
GATE: Final = Level(
    "oo_loop_gate",
    "What a challenger earns above the champion, at least (low) and at most (high)",
    "mostrecent",
    (*_CHALLENGER, "bound"),
)
E_VALUE: Final = Level(
    "oo_loop_log_e_value", "Logarithm of the evidence that a challenger earns more", "mostrecent", _CHALLENGER
)
NEEDED: Final = Level(
    "oo_loop_decisions_needed",
    "About how many more decisions would show that a challenger earns more; +Inf: none would",
    "mostrecent",
    _CHALLENGER,
)
