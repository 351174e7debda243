"""The settings, read once at start from the environment into one frozen value.

A setting is a field of `Settings`: the variable is its name in capitals, its type and bounds are what the variable
takes, and its description is what the documents say of it. The variables of OpenTelemetry are in `app.observe.otel`.
Only `app.__main__`, `app.main` and `app.commands.cli` touch `os.environ`; all else is given what it needs.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, get_type_hints

import msgspec
import msgspec.inspect
from msgspec import Meta

__all__ = ["ROOT_PATH", "Secret", "Settings", "SettingsError", "described", "from_environment", "takes"]


class SettingsError(Exception):
    """A variable has a value that the service cannot start with. The message is one line that names the variable."""


class Secret:
    """Text that is masked in its repr and str; `reveal` returns it to the code that needs it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return "Secret(***)" if self._text else "Secret(empty)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


Port = Annotated[int, Meta(ge=1, le=65_535)]
Positive = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
# A path that can be written in one way only: at most eight names of at most 63 characters.
ROOT_PATH: Final = r"^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,62}){0,8}$"


def says(text: str) -> Meta:
    return Meta(description=text)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an operator can set. `from_environment` makes one."""

    host: Annotated[
        str, says("address or name to listen on; :: for every address, IPv6 and IPv4; 0.0.0.0 for IPv4 alone")
    ] = "127.0.0.1"
    port: Annotated[Port, says("port to listen on")] = 8000
    root_path: Annotated[
        str,
        Meta(
            pattern=ROOT_PATH,
            examples=["/bandit"],
            description="path such as /bandit under which a proxy publishes the service; empty for none",
        ),
    ] = ""
    trusted_proxies: Annotated[
        str,
        says("addresses and networks, separated by commas, whose X-Forwarded-Prefix is believed; empty for none"),
    ] = ""
    workers: Annotated[int, Meta(ge=1, le=256, description="processes that serve in this container")] = 1
    log_level: Annotated[Literal["debug", "info", "warning", "error"], says("least severe log line to write")] = "info"

    log_format: Annotated[
        Literal["auto", "json", "text"], says("json, text for people, or auto: text at a terminal and json elsewhere")
    ] = "auto"
    access_log: Annotated[
        Literal["all", "errors", "off"], says("requests that leave a log line: all, those answered 4xx or 5xx, or none")
    ] = "errors"

    api_keys: Annotated[
        Secret,
        says(
            "lines name:role:sha256, or the path of a file with them (it begins with / or ./), read again on SIGHUP; "
            "empty: open to everyone"
        ),
    ] = Secret("")
    metrics_key: Annotated[Secret, says("bearer token that GET /metrics wants; empty for none")] = Secret("")
    console: Annotated[bool, says("serve the pages for people at /console")] = True
    rate_limit_per_second: Annotated[
        Count, says("requests per second from one API key, over all replicas; 0 for any number")
    ] = 0

    personalizer_key: Annotated[
        Secret,
        says("keys of Azure Personalizer's clients, separated by commas, which /personalizer serves; empty: off"),
    ] = Secret("")
    personalizer_app: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9_~:@.-]{1,64}$",
            description="user under whose id all events of Azure Personalizer's clients are kept",
        ),
    ] = "personalizer"

    redis_url: Annotated[
        Secret,
        says(
            "where the state is: redis://, rediss://, unix://, redis+sentinel://host:port,host:port/service/db, "
            "redis+cluster://host:port,host:port, or memory:// (in this process only)"
        ),
    ] = Secret("memory://")
    redis_pool_size: Annotated[
        int, Meta(ge=4, le=10_000, description="most connections one process opens to Redis")
    ] = 32
    redis_wait_replicas: Annotated[
        Literal["auto"] | Annotated[int, Meta(ge=0, le=16)],
        says(
            "Redis replicas that must have a write before it is acknowledged; auto: 1 with Sentinel and with a Cluster "
            "that has replicas, else 0"
        ),
    ] = "auto"
    store_timeout_seconds: Annotated[Seconds, says("longest a request waits for Redis before it is answered 503")] = 2.0
    idempotency_ttl_seconds: Annotated[
        int, Meta(ge=1, le=31_536_000, description="how long an Idempotency-Key is remembered")
    ] = 86_400
    feature_history_size: Annotated[int, Meta(ge=1, le=10_000, description="decisions kept in a user's history")] = 100

    policies: Annotated[
        str,
        says("TOML file with more policies and loops, read again on SIGHUP; empty: only those that are built in"),
    ] = ""
    alpha: Annotated[float, Meta(ge=0, le=1_000, description="width of LinUCB's confidence bound")] = 1.0
    epsilon: Annotated[float, Meta(ge=0, le=1, description="share of epsilon-greedy decisions that explore")] = 0.1

    decision_grace_seconds: Annotated[
        int, Meta(ge=0, le=2_592_000, description="how long a decision is kept after its window, for late rewards")
    ] = 3_600

    idle_user_days: Annotated[
        int,
        Meta(
            ge=0,
            le=36_500,
            description="days after which a user who does not return is forgotten; 0: never; more than the longest "
            "window of a loop and DECISION_GRACE_SECONDS together",
        ),
    ] = 0

    decision_log: Annotated[
        str, says("where the log of decisions is kept: file:///directory, nats for a stream in JetStream, or nothing")
    ] = ""
    decision_log_backlog: Annotated[
        int,
        Meta(
            ge=1_048_576,
            le=1_099_511_627_776,
            description="bytes of the log that may wait in Redis while it cannot be published; beyond, the oldest go",
        ),
    ] = 268_435_456
    decision_log_days: Annotated[
        int,
        Meta(
            ge=0,
            le=36_500,
            description="days for which files of the log, or a stream made by the service, are kept; 0: forever",
        ),
    ] = 0

    max_body_bytes: Annotated[
        int, Meta(ge=1_024, le=268_435_456, description="largest request body; a larger one is answered 413")
    ] = 2_097_152
    max_request_seconds: Annotated[
        Seconds, says("longest a request may take to arrive; a slower one is answered 408")
    ] = 10.0
    max_inflight: Annotated[
        Count, says("requests served at once before others are refused with 503; 0 sizes it from the pool")
    ] = 0
    drain_seconds: Annotated[
        float, Meta(ge=0, le=300, description="how long a stop answers 'not ready' before it stops listening")
    ] = 2.0
    shutdown_seconds: Annotated[
        int, Meta(ge=1, le=3_600, description="longest a stop waits for requests and events in hand")
    ] = 20

    litellm_url: Annotated[str, says("base URL of the LiteLLM proxy")] = "http://localhost:4000"
    litellm_master_key: Annotated[Secret, says("key for the LiteLLM proxy; without it /generate answers 503")] = Secret(
        ""
    )
    default_prompt_version: Annotated[str, says("prompt used when a request names none; see GET /prompts")] = "v1"
    llm_max_concurrency: Annotated[Positive, says("calls to the language model at once")] = 32
    llm_queue_seconds: Annotated[Seconds, says("longest a call waits for its turn before it is answered 503")] = 5.0

    nats_url: Annotated[Secret, says("NATS servers, separated by commas; empty turns events off")] = Secret("")
    nats_creds: Annotated[str, says("file with NATS user credentials; empty for none")] = ""
    nats_jetstream_domain: Annotated[
        str,
        Meta(pattern=r"^[A-Za-z0-9_-]{0,64}$", description="JetStream domain, as behind a leaf node; empty for none"),
    ] = ""
    nats_durable_prefix: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="start of the durable consumers' names")
    ] = "oo-serving"
    nats_max_deliver: Annotated[
        int, Meta(ge=1, le=1_000, description="deliveries of one event before it is dead-lettered")
    ] = 5
    nats_create_streams: Annotated[bool, says("create the streams signals, feedback and dlq if they are missing")] = (
        False
    )


def described() -> Iterator[tuple[str, str, str]]:
    """Each setting: its variable, its default as it would stand in the environment or "empty", and its description."""
    for name, hint in get_type_hints(Settings, include_extras=True).items():
        value: Any = getattr(Settings(), name)
        if isinstance(value, Secret):
            value = value.reveal()
        shown = f"{value:d}" if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
        found: Any = msgspec.inspect.type_info(hint)
        yield name.upper(), shown or "empty", found.extra_json_schema["description"]


def _secret(type_: type, value: object) -> object:
    if type_ is Secret and isinstance(value, str):
        return Secret(value)
    raise NotImplementedError


def takes(type_: msgspec.inspect.Type) -> str:  # noqa: PLR0911  # one line for each type
    """The values that a variable of this type takes, in words."""
    match type_:
        case msgspec.inspect.Metadata(type=inner, extra_json_schema={"examples": [example]}):
            return f"{takes(inner)}, such as {example}"
        case msgspec.inspect.Metadata(type=inner):
            return takes(inner)
        case msgspec.inspect.LiteralType(values=values):
            return ", ".join(map(str, values))
        case msgspec.inspect.UnionType(types=types):
            return " or ".join(takes(one) for one in reversed(types))
        case msgspec.inspect.BoolType():
            return "1 or 0"
        case msgspec.inspect.IntType(ge=low, le=high):
            return f"a whole number, {low:,} to {high:,}" if high is not None else f"a whole number, {low:,} or more"
        case msgspec.inspect.FloatType(ge=low, gt=above, le=high):
            return f"{low:g} to {high:,}" if low is not None else f"more than {above:g}, at most {high:,}"
        case msgspec.inspect.StrType(pattern=pattern) if pattern:
            return f"text that fits {pattern}"
    return "text"


def _word(text: str, type_: msgspec.inspect.Type) -> str:
    """`text` in lower case if it is one of several words."""
    match type_:
        case msgspec.inspect.Metadata(type=inner):
            return _word(text, inner)
        case msgspec.inspect.LiteralType() | msgspec.inspect.BoolType() | msgspec.inspect.UnionType():
            return text.lower()  # a union is of numbers and words
    return text


def from_environment(environ: Mapping[str, str]) -> Settings:
    """Read every setting from `environ`; an empty variable counts as not set.

    White space around a value is ignored, such as the line break of a mounted file; so is case where there are words
    to choose from. Raises SettingsError for the first variable that does not fit, with what it takes and what it was. A
    secret takes any text.
    """
    values: dict[str, Any] = {}
    for name, hint in get_type_hints(Settings, include_extras=True).items():
        variable = name.upper()
        text = environ.get(variable, "").strip()
        if not text:
            continue
        described = msgspec.inspect.type_info(hint)
        try:
            values[name] = msgspec.convert(_word(text, described), hint, strict=False, dec_hook=_secret)
        except msgspec.ValidationError:
            raise SettingsError(f"{variable}: takes {takes(described)}, not {text!r}") from None
    return Settings(**values)
