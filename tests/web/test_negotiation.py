"""Content negotiation of format and coding."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.metrics.format import Format
from exporter.web.negotiation import accepts_gzip, negotiate

TEXT, OPENMETRICS = Format.TEXT, Format.OPENMETRICS


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        # Headers that Prometheus servers send.
        pytest.param(
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
            "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            OPENMETRICS,
            id="Prometheus 2",
        ),
        pytest.param(
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,"
            "application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,"
            "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            OPENMETRICS,
            id="Prometheus 2 with native histograms",
        ),
        pytest.param(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
            "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
            "text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            OPENMETRICS,
            id="Prometheus 3",
        ),
        pytest.param(
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;"
            "escaping=allow-utf-8;q=0.7,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
            "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
            "text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            OPENMETRICS,
            id="Prometheus 3 with protobuf",
        ),
        pytest.param("text/plain;version=0.0.4;q=1,*/*;q=0.1", TEXT, id="Prometheus with PrometheusText0.0.4 only"),
        pytest.param("text/plain;version=0.0.4;escaping=underscores", TEXT, id="Prometheus 3, legacy names"),
        pytest.param("application/openmetrics-text;version=0.0.1", TEXT, id="OpenMetrics 0.0.1 only"),
        # Browsers and command lines.
        pytest.param(None, TEXT, id="no header"),
        pytest.param("", TEXT, id="empty"),
        pytest.param("*/*", TEXT, id="curl"),
        pytest.param("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", TEXT, id="browser"),
        # Names, versions and wildcards.
        pytest.param("application/openmetrics-text", OPENMETRICS, id="no version"),
        pytest.param("APPLICATION/OpenMetrics-Text; Version=1.0.0", OPENMETRICS, id="case does not matter"),
        pytest.param('application/openmetrics-text; version="1.0.0"', OPENMETRICS, id="quoted"),
        pytest.param(
            "application/openmetrics-text ; version=1.0.0 ; charset=UTF-8", OPENMETRICS, id="spaces and charset"
        ),
        pytest.param("application/openmetrics-text;charset=latin-1", TEXT, id="a charset that we do not write"),
        pytest.param("application/openmetrics-text;version=2.0.0", TEXT, id="a version that we do not write"),
        pytest.param("application/*", TEXT, id="a wildcard means text"),
        pytest.param("application/openmetrics-text, */*", OPENMETRICS, id="by name and by wildcard"),
        pytest.param("text/plain, application/openmetrics-text", OPENMETRICS, id="both alike: the richer one"),
        pytest.param("image/png", TEXT, id="nothing fits"),
        # Weights.
        pytest.param("application/openmetrics-text;q=0.4, text/plain;q=0.5", TEXT, id="text preferred"),
        pytest.param("application/openmetrics-text;q=0.4, */*;q=0.5", TEXT, id="anything else preferred"),
        pytest.param("application/openmetrics-text;q=0.5, text/*;q=0.6", TEXT, id="any text preferred"),
        pytest.param(
            "application/openmetrics-text;q=0.5, text/plain;q=0.4, */*", OPENMETRICS, id="the most specific counts"
        ),
        pytest.param(
            "application/openmetrics-text;q=0.5, text/plain;version=0.0.4;q=0.4, text/plain",
            OPENMETRICS,
            id="with version",
        ),
        pytest.param("application/openmetrics-text;q=0", TEXT, id="excluded"),
        pytest.param("application/openmetrics-text;q=0.000, */*", TEXT, id="excluded with decimals"),
        pytest.param(
            "application/openmetrics-text;version=1.0.0;q=0, application/openmetrics-text", TEXT, id="version excluded"
        ),
        pytest.param("application/openmetrics-text;q=0.001, text/plain;q=0", OPENMETRICS, id="text excluded"),
        pytest.param("application/openmetrics-text; Q=0.4, text/plain;q=0.5", TEXT, id="Q is q"),
        # Mistakes.
        pytest.param("application/openmetrics-text;q=2", TEXT, id="q above 1"),
        pytest.param("application/openmetrics-text;q=-1", TEXT, id="q below 0"),
        pytest.param("application/openmetrics-text;q=nan", TEXT, id="q not a number"),
        pytest.param("application/openmetrics-text;q=", TEXT, id="q empty"),
        pytest.param("application/openmetrics-text;version", TEXT, id="parameter without value"),
        pytest.param("openmetrics", TEXT, id="no type"),
        pytest.param('application/openmetrics-text;version="1.0.0', TEXT, id="quote left open"),
        pytest.param(",,application/openmetrics-text;;,", OPENMETRICS, id="empty elements are allowed"),
        pytest.param('a/b;c="x,application/openmetrics-text"', TEXT, id="inside quotes"),
        pytest.param('application/openmetrics-text;a="b;q=0"', OPENMETRICS, id="a semicolon inside quotes"),
        pytest.param(r'application/openmetrics-text;a="b\",text/plain;c=\"d"', OPENMETRICS, id="a quote inside quotes"),
        pytest.param(r'text/plain;version="0\.0\.4", application/openmetrics-text;q=0.9', TEXT, id="quoted letters"),
    ],
)
def test_format(accept: str | None, expected: Format) -> None:
    assert negotiate(accept) is expected


@pytest.mark.parametrize(
    ("accept_encoding", "expected"),
    [
        (None, False),
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("gzip, deflate, br", True),
        ("deflate, br", False),
        ("identity", False),
        ("identity, gzip", True),
        ("*", True),
        ("*;q=0", False),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("*;q=0, gzip", True),
        ("gzip;q=0.001", True),
        ("gzip;q=1.0, identity;q=0.5", True),
        ("gzip;q=0.5, identity", False),
        ("identity;q=0, gzip;q=0.1", True),
        ("identity;q=0, *;q=0.5", True),
        ("identity;q=0", False),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", True),
        ("gzip;q=x", False),
        ("gzip gzip", False),
    ],
)
def test_gzip(accept_encoding: str | None, expected: bool) -> None:
    assert accepts_gzip(accept_encoding) is expected


@given(header=st.text() | st.text('application/openmetrics-text;,q=01."\\ *'))
def test_no_header_raises(header: str) -> None:
    """Clients may send anything."""
    assert negotiate(header) in Format
    assert accepts_gzip(header) in {True, False}


@pytest.mark.parametrize(
    "element", [";", " ;", "; ", ' ; a="', "a/b;c=d ", '"', "\\", ",", "a/b", '"\\', "; a=b", "a" * 9]
)
def test_long_headers_take_no_time(element: str) -> None:
    """A header of the greatest length that the server takes, made to be hard on regular expressions."""
    began = time.process_time()

    negotiate("a/b" + element * 8190)
    accepts_gzip("a" + element * 8190)

    assert time.process_time() - began < 10
