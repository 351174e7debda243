"""OpenTelemetry's variables: which ask for traces, and which are refused."""

import pytest

from app.observe.otel import names_service, wants_traces
from app.settings import SettingsError

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
HERE = "http://127.0.0.1:4318"


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        ({ENDPOINT: HERE}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": HERE}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", ENDPOINT: HERE}, False),
        ({"OTEL_SDK_DISABLED": "true", ENDPOINT: HERE}, False),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", ENDPOINT: HERE}, True),
    ],
)
def test_the_standard_variables_decide(environ: dict[str, str], *, wanted: bool) -> None:
    """Traces are made if an exporter is named and not switched off."""
    assert wants_traces(environ) is wanted


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"OTEL_TRACES_EXPORTER": "jaeger"}, "OTEL_TRACES_EXPORTER: takes otlp or none, not 'jaeger'"),
        ({ENDPOINT: "127.0.0.1:4317"}, f"{ENDPOINT}: takes http"),
        ({ENDPOINT: HERE, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL: takes http/protobuf"),
        (
            {ENDPOINT: HERE, "OTEL_BSP_MAX_QUEUE_SIZE": "-1"},
            "OTEL_BSP_MAX_QUEUE_SIZE: takes a whole number, 1 or more, not '-1'",
        ),
        (
            {ENDPOINT: HERE, "OTEL_BSP_SCHEDULE_DELAY": "0"},
            "OTEL_BSP_SCHEDULE_DELAY: takes a whole number, 1 or more, not '0'",
        ),
        (
            {ENDPOINT: HERE, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "x"},
            "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT: takes a whole number, 0 or more, not 'x'",
        ),
    ],
)
def test_what_the_service_cannot_do_stops_the_start(environ: dict[str, str], named: str) -> None:
    """An exporter, protocol or address that is of no use is refused by name, instead of no trace ever arriving."""
    with pytest.raises(SettingsError, match=named):
        wants_traces(environ)


@pytest.mark.parametrize(
    "headers",
    [
        "Bearer s3cret",
        "=s3cret",
        "a=b,authorization Bearer s3cret",
        "a=s3cret;b",
        "a=s3cret%0A",
        "a=s3crét",
        "a b=s3cret",
    ],
)
@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"])
def test_headers_of_no_form_stop_the_start(variable: str, headers: str) -> None:
    """Headers that the SDK would log, since it cannot read or send them, are refused without being shown."""
    with pytest.raises(SettingsError, match=f"^{variable}: takes name=value pairs") as caught:
        wants_traces({ENDPOINT: HERE, variable: headers})
    assert "s3cr" not in str(caught.value)


def test_headers_of_every_form_the_sdk_reads() -> None:
    """Spaces around, escapes, an = in a value, an empty value and an empty pair are in order."""
    assert wants_traces({ENDPOINT: HERE, "OTEL_EXPORTER_OTLP_HEADERS": "a=Bearer%20x, b = c d==,,e="})


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "mine"}, True),
        ({"OTEL_RESOURCE_ATTRIBUTES": "a=b,service.name=mine"}, True),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.version=1"}, False),
    ],
)
def test_the_service_may_be_named(environ: dict[str, str], *, named: bool) -> None:
    """Either of two variables gives the service its name."""
    assert names_service(environ) is named
