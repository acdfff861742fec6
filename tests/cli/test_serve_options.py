"""Flags of the server."""

import pytest

from exporter.cli.main import build_parser


@pytest.mark.parametrize(
    "flag",
    [
        "--config.auto-reload-interval=0",
        "--config.auto-reload-interval=30",
        "--web.telemetry-path=/static/metrics",
        "--web.telemetry-path=/config",
        "--web.listen-address=9851",
    ],
)
def test_a_flag_that_cannot_be_meant_is_wrong_usage(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        build_parser().parse_args(["serve", flag])
    assert caught.value.code == 2
    assert flag.partition("=")[0] in capsys.readouterr().err


def test_what_is_done_without_flags() -> None:
    args = build_parser().parse_args(["serve"])
    assert args.auto_reload is False
    assert args.auto_reload_interval == 30
    assert args.web_config_file is None
    assert args.systemd_socket is False
