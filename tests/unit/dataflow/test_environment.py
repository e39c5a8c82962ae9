"""Environment variables: defaults, readers that refuse, secrets from files, and that README tells the same."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

from dataflow.environment import ENVIRONMENT, Environment

README = Path(__file__).resolve().parents[3] / "README.md"


def test_it_works() -> None:
    env = Environment({"PORT": " 9000 ", "DEBUG": "Yes", "ALLOWED_HOSTS": "a.example, ,b.example"})
    assert env.integer("PORT", minimum=1, maximum=65535) == 9000
    assert env.flag("DEBUG") is True
    assert env.items("ALLOWED_HOSTS") == ["a.example", "b.example"]
    assert env.text("HOST") == "127.0.0.1"


@pytest.mark.parametrize(
    ("name", "value", "days"),
    [
        ("DATAFLOW_RETENTION_DAYS", "", None),
        ("DATAFLOW_RETENTION_DAYS", "90", 90),
        ("DATAFLOW_FILE_RETENTION_DAYS", "", 30),
        ("DATAFLOW_FILE_RETENTION_DAYS", "0", None),
    ],
)
def test_days(name: str, value: str, days: int | None) -> None:
    assert Environment({name: value}).days(name) == days


@pytest.mark.parametrize("value", ["", "0", "off", "No", "false"])
def test_flags_are_off(value: str) -> None:
    assert Environment({"DEBUG": value}).flag("DEBUG") is False


@pytest.mark.parametrize(
    ("read", "name", "value", "hint"),
    [
        (lambda env: env.integer("PORT", minimum=1, maximum=65535), "PORT", "http", "whole number from 1 to 65535"),
        (lambda env: env.integer("PORT", minimum=1, maximum=65535), "PORT", "65536", "whole number from 1 to 65535"),
        (lambda env: env.integer("PORT", minimum=1, maximum=65535), "PORT", "٣", "whole number"),
        (lambda env: env.integer("WORKERS", minimum=1, maximum=64), "WORKERS", "-1", "whole number"),
        (lambda env: env.days("DATAFLOW_RETENTION_DAYS"), "DATAFLOW_RETENTION_DAYS", "1.5", "whole number from 0"),
        (lambda env: env.flag("DEBUG"), "DEBUG", "maybe", "Use 1 or 0"),
        (lambda env: env.url("OPENAI_BASE_URL"), "OPENAI_BASE_URL", "api.example.com", "whole address"),
        (lambda env: env.origins("CSRF_TRUSTED_ORIGINS"), "CSRF_TRUSTED_ORIGINS", "example.com", "https://"),
        (lambda env: env.json_object("Q_CLUSTER"), "Q_CLUSTER", "{", "not JSON"),
        (lambda env: env.json_object("Q_CLUSTER"), "Q_CLUSTER", "[]", "JSON object"),
        (lambda env: env.choice("LOG_LEVEL", ("INFO",)), "LOG_LEVEL", "loud", "one of INFO"),
        (lambda env: env.data_dir(), "DATA_DIR", "/dev/null/var", "cannot be made"),
        (lambda env: env.text("SECRET_KEY"), "SECRET_KEY_FILE", "/does/not/exist", "cannot be read"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_and_what_would_be_right(
    read: Any, name: str, value: str, hint: str
) -> None:
    with pytest.raises(ImproperlyConfigured) as raised:
        read(Environment({name: value}))
    assert name in str(raised.value)
    assert value in str(raised.value)
    assert hint in str(raised.value)


@pytest.mark.parametrize("url", ["mysql://u:hunter2@h/db", "postgresql://u:hunter2@[bad/db", "nonsense hunter2"])
def test_a_bad_database_url_is_refused_without_its_password(url: str, tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL is not understood") as raised:
        Environment({"DATABASE_URL": url}).database(data_dir=tmp_path)
    assert "hunter2" not in str(raised.value)


def test_databases(tmp_path: Path) -> None:
    sqlite = Environment({}).database(data_dir=tmp_path)
    assert sqlite["NAME"] == str(tmp_path / "db.sqlite3")
    assert sqlite["ENGINE"] == "dataflow.db.sqlite3"
    assert sqlite["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    postgresql = Environment({"DATABASE_URL": "postgresql://u:p%40@db.example:5433/flows"}).database(data_dir=tmp_path)
    assert (postgresql["PASSWORD"], postgresql["PORT"], postgresql["CONN_MAX_AGE"]) == ("p@", 5433, 600)
    assert postgresql["ENGINE"] == "dataflow.db.postgresql"
    assert "pool" not in postgresql.get("OPTIONS", {})


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from the file\n")
    assert Environment({"OPENAI_API_KEY_FILE": str(tmp_path / "key")}).text("OPENAI_API_KEY") == "from the file"
    values = {"OPENAI_API_KEY": "direct", "OPENAI_API_KEY_FILE": str(tmp_path / "key")}
    assert Environment(values).text("OPENAI_API_KEY") == "direct"


def test_only_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "host").write_text("0.0.0.0")
    assert Environment({"HOST_FILE": str(tmp_path / "host")}).text("HOST") == "127.0.0.1"


def test_development_keys_are_made_once_and_are_private(tmp_path: Path) -> None:
    env = Environment({})
    key = env.secret_key(data_dir=tmp_path, debug=True)
    assert len(key) >= 50
    assert env.secret_key(data_dir=tmp_path, debug=True) == key
    assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600
    encryption = env.encryption_keys(data_dir=tmp_path, debug=True)
    assert env.encryption_keys(data_dir=tmp_path, debug=True) == encryption
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encryption_key", "secret_key"]


def test_production_wants_its_keys(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"SECRET_KEY is not set.*token_urlsafe"):
        Environment({}).secret_key(data_dir=tmp_path, debug=False)
    with pytest.raises(ImproperlyConfigured, match=r"DATAFLOW_ENCRYPTION_KEYS is not set"):
        Environment({}).encryption_keys(data_dir=tmp_path, debug=False)
    assert list(tmp_path.iterdir()) == []


def test_encryption_keys_are_checked(tmp_path: Path) -> None:
    newer, older = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    env = Environment({"DATAFLOW_ENCRYPTION_KEYS": f"{newer},{older}"})
    assert env.encryption_keys(data_dir=tmp_path, debug=False) == [newer, older]
    with pytest.raises(ImproperlyConfigured, match="no Fernet key") as raised:
        Environment({"DATAFLOW_ENCRYPTION_KEYS": "short"}).encryption_keys(data_dir=tmp_path, debug=False)
    assert "short" not in str(raised.value)


def test_readme_lists_every_variable_as_it_is() -> None:
    section = README.read_text(encoding="utf-8").split("\n## Settings\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", section, re.MULTILINE)
    assert rows == [(v.name, f"`{v.default}`" if v.default else "", v.help) for v in ENVIRONMENT]
