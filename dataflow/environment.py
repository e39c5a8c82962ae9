"""The environment variables of the platform: one table, and readers that refuse bad values.

``ENVIRONMENT`` is the whole list; README repeats it and a test compares the two. A secret may also be given as
``NAME_FILE``, the path of a file that holds it.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import dj_database_url
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One environment variable. ``default`` is the text it stands for when unset; ``secret`` allows ``NAME_FILE``."""

    name: str
    default: str
    help: str
    secret: bool = False


ENVIRONMENT = (
    Variable(name="HOST", default="127.0.0.1", help="Address the web server listens on."),
    Variable(name="PORT", default="8000", help="Port the web server listens on, 1–65535."),
    Variable(name="DATA_DIR", default="./var", help="Folder for the SQLite database, stored files and generated keys."),
    Variable(
        name="DATABASE_URL",
        default="",
        help="`postgresql://user:password@host/name` or `sqlite:///path`. Empty: SQLite in `DATA_DIR`.",
        secret=True,
    ),
    Variable(
        name="FILE_STORAGE",
        default="",
        help="`s3://BUCKET/PREFIX?region=…&endpoint=https://…` keeps files in S3. Empty: a folder in `DATA_DIR`.",
    ),
    Variable(
        name="DATAFLOW_RETENTION_DAYS",
        default="",
        help="Days after which an execution that has ended is deleted, with its files. Empty or `0`: never.",
    ),
    Variable(
        name="DATAFLOW_FILE_RETENTION_DAYS",
        default="30",
        help="Days after which an uploaded file goes that no execution, schedule or workflow needs. `0`: never.",
    ),
    Variable(name="WORKERS", default="2", help="Worker processes."),
    Variable(name="WORKER_THREADS", default="256", help="Tasks that one worker process runs at the same time."),
    Variable(
        name="WORKER_NICE",
        default="5",
        help="How much the workers give way where the processor is short (0–19): who waits for an answer goes first.",
    ),
    Variable(name="OPENAI_API_KEY", default="", help="Key for the OpenAI task types.", secret=True),
    Variable(name="OPENAI_BASE_URL", default="", help="Another server that speaks the OpenAI protocol."),
    Variable(
        name="DEBUG",
        default="0",
        help="`1` is development: open API on loopback, local voice, generated keys. `make run` sets it unless set.",
    ),
    Variable(
        name="SECRET_KEY",
        default="",
        help="Signs sessions and the queue; 50 random characters. Required with `DEBUG=0`, else kept in `DATA_DIR`.",
        secret=True,
    ),
    Variable(
        name="DATAFLOW_ENCRYPTION_KEYS",
        default="",
        help="Fernet keys for stored secrets, comma separated, newest first. Required with `DEBUG=0`.",
        secret=True,
    ),
    Variable(
        name="ALLOWED_HOSTS", default="", help="Host names to answer to, comma separated. Loopback always is one."
    ),
    Variable(
        name="FORWARDED_ALLOW_IPS",
        default="127.0.0.1,::1",
        help="Proxies whose `X-Forwarded-Proto` is believed, comma separated; `*` is any.",
    ),
    Variable(
        name="CSRF_TRUSTED_ORIGINS", default="", help="Origins such as `https://flows.example.com`, comma separated."
    ),
    Variable(
        name="DATAFLOW_ALLOWED_PRIVATE_HOSTS",
        default="",
        help="Inside hosts that tasks and webhooks may reach, comma separated. `DEBUG=1` opens loopback.",
    ),
    Variable(
        name="DATAFLOW_LOCAL_VOICE_URL",
        default="",
        help="Local speech server, set by `manage.py up` when it starts one. Ignored with `DEBUG=0`.",
    ),
    Variable(
        name="DATAFLOW_PRICES",
        default="",
        help="JSON file with what models cost, like `dataflow/prices.json`, which holds unless another is given.",
    ),
    Variable(name="FFMPEG_BINARY", default="", help="The ffmpeg to use. Empty: the one that `imageio-ffmpeg` brings."),
    Variable(
        name="WHISPER_MODELS",
        default="",
        help="Folder of speech models for `whisper.transcribe`, one folder each, named like the model.",
    ),
    Variable(
        name="WHISPER_MODEL",
        default="",
        help="Its default model: a name or a folder. Empty: `tiny.en`, which its requirements bring.",
    ),
    Variable(name="Q_CLUSTER", default="{}", help="JSON object that is laid over the settings of django-q2."),
    Variable(name="LOG_LEVEL", default="INFO", help="`DEBUG`, `INFO`, `WARNING` or `ERROR`."),
)

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})


class Environment:
    """Reads the variables of ``ENVIRONMENT`` from ``values``; a bad one raises ``ImproperlyConfigured``."""

    def __init__(self, values: Mapping[str, str] = os.environ) -> None:
        self._values = values
        self._variables = {variable.name: variable for variable in ENVIRONMENT}

    def text(self, name: str) -> str:
        """The value without surrounding space, from ``NAME``, else the file ``NAME_FILE``, else the default."""
        variable = self._variables[name]
        value = self._values.get(name, "").strip()
        if not value and variable.secret and (path := self._values.get(f"{name}_FILE", "").strip()):
            value = _read_secret_file(name, Path(path))
        return value or variable.default

    def flag(self, name: str) -> bool:
        """1, true, yes, on; or 0, false, no, off, nothing."""
        value = self.text(name).lower()
        if value not in _TRUE | _FALSE:
            raise _refused(name, value, "Use 1 or 0.")
        return value in _TRUE

    def integer(self, name: str, *, minimum: int, maximum: int) -> int:
        """A whole number between the two, both allowed."""
        value = self.text(name)
        hint = f"Use a whole number from {minimum} to {maximum}."
        if not (value.isascii() and value.isdigit()) or not minimum <= int(value) <= maximum:
            raise _refused(name, value, hint)
        return int(value)

    def days(self, name: str) -> int | None:
        """A whole number of days; ``None`` for nothing or 0."""
        return self.integer(name, minimum=0, maximum=36_500) or None if self.text(name) else None

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """One of ``choices``, written in any case."""
        value = self.text(name)
        if value.upper() not in choices:
            raise _refused(name, value, f"Use one of {', '.join(choices)}.")
        return value.upper()

    def items(self, name: str) -> list[str]:
        """The comma separated parts; none of them is empty."""
        return [part.strip() for part in self.text(name).split(",") if part.strip()]

    def origins(self, name: str) -> list[str]:
        """Comma separated origins with their scheme."""
        for origin in (values := self.items(name)):
            if urlsplit(origin).scheme not in {"http", "https"} or not urlsplit(origin).netloc:
                raise _refused(name, origin, "Write it like https://flows.example.com.")
        return values

    def url(self, name: str) -> str:
        """An http or https address, or nothing."""
        value = self.text(name)
        if value and (urlsplit(value).scheme not in {"http", "https"} or not urlsplit(value).hostname):
            raise _refused(name, value, "Write a whole address, like https://api.example.com/v1.")
        return value.rstrip("/")

    def json_object(self, name: str) -> dict[str, Any]:
        """A JSON object."""
        value = self.text(name)
        try:
            loaded = json.loads(value)
        except ValueError as error:
            raise _refused(name, value, f"It is not JSON: {error}.") from error
        if not isinstance(loaded, dict):
            raise _refused(name, value, 'Write a JSON object, like {"poll": 0.2}.')
        return loaded

    def data_dir(self) -> Path:
        """``DATA_DIR``, absolute. It is made here when missing; one that cannot be written to is refused."""
        path = Path(self.text("DATA_DIR")).expanduser().resolve()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _refused("DATA_DIR", str(path), f"It cannot be made: {error.strerror}.") from error
        if not os.access(path, os.W_OK | os.X_OK):
            raise _refused("DATA_DIR", str(path), "This user may not write to it.")
        return path

    def file_storage(self, *, data_dir: Path) -> dict[str, Any]:
        """``FILE_STORAGE`` as the default entry of ``STORAGES``: S3, or a folder."""
        url = urlsplit(self.text("FILE_STORAGE"))
        if not url.geturl():
            options: dict[str, Any] = {"location": str(data_dir / "files"), "file_permissions_mode": 0o600}
            return {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": options}
        more = dict(parse_qsl(url.query))
        if url.scheme != "s3" or not url.hostname or more.keys() - {"region", "endpoint"}:
            raise _refused("FILE_STORAGE", url.geturl(), "Write it like s3://bucket/prefix?region=eu-west-1.")
        if find_spec("storages") is None or find_spec("boto3") is None:
            raise ImproperlyConfigured("FILE_STORAGE is S3, which needs: pip install -r requirements-s3.txt")
        options = {
            "bucket_name": url.netloc,
            "location": url.path.strip("/"),
            "region_name": more.get("region"),
            "endpoint_url": more.get("endpoint"),
            "file_overwrite": False,
            # What is read is kept on disk beyond that; the default is the whole file in memory.
            "max_memory_size": 1024 * 1024,
        }
        return {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}

    def secret_key(self, *, data_dir: Path, debug: bool) -> str:
        """``SECRET_KEY``. In development one is generated once and kept, readable by this user only."""
        if value := self.text("SECRET_KEY"):
            return value
        _require_debug("SECRET_KEY", "python -c 'import secrets; print(secrets.token_urlsafe(50))'", debug=debug)
        return _kept(data_dir / "secret_key", secrets.token_urlsafe(50))

    def encryption_keys(self, *, data_dir: Path, debug: bool) -> list[str]:
        """``DATAFLOW_ENCRYPTION_KEYS``, each a Fernet key. In development one is generated once and kept."""
        keys = self.items("DATAFLOW_ENCRYPTION_KEYS")
        command = "python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"
        if not keys:
            _require_debug("DATAFLOW_ENCRYPTION_KEYS", command, debug=debug)
            keys = [_kept(data_dir / "encryption_key", Fernet.generate_key().decode())]
        for key in keys:
            try:
                Fernet(key)
            except ValueError as error:
                raise ImproperlyConfigured(
                    f"DATAFLOW_ENCRYPTION_KEYS holds a value that is no Fernet key. Make one with: {command}"
                ) from error
        return keys

    def database(self, *, data_dir: Path) -> dict[str, Any]:
        """``DATABASE_URL`` as an entry of ``DATABASES``, with the options that SQLite or PostgreSQL needs."""
        url = self.text("DATABASE_URL")
        if not url:
            return _sqlite({"NAME": str(data_dir / "db.sqlite3")})
        try:
            parsed: dict[str, Any] = dict(dj_database_url.parse(url))
        except ValueError as error:
            raise _bad_database_url() from error
        if parsed["ENGINE"] == "django.db.backends.sqlite3":
            return _sqlite(parsed)
        if parsed["ENGINE"] == "django.db.backends.postgresql":
            # A connection is kept for ten minutes: one each job would cost more than the job.
            options = _PATIENCE | parsed.get("OPTIONS", {})
            own = {"ENGINE": "dataflow.db.postgresql", "OPTIONS": options}
            return parsed | own | {"CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True}
        raise _bad_database_url()


#: How long anything waits for PostgreSQL: a machine that went away, a lock that a stopped process holds, or such a
#: process itself, must not hold up the others. What the URL says wins.
_PATIENCE = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "options": "-c idle_in_transaction_session_timeout=30s -c lock_timeout=10s",
}


def _sqlite(parsed: dict[str, Any]) -> dict[str, Any]:
    """SQLite for several processes: readers never wait for the writer, and writers queue instead of failing.

    ``synchronous=FULL``: a commit that was answered survives a power cut, as "nothing accepted is lost" promises.
    NORMAL would survive ``kill -9`` only. ``IMMEDIATE`` takes the write lock at BEGIN, where waiting for it works.
    """
    options = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    }
    # A file also for tests: threads cannot share a database in memory without locking each other out.
    test = {"NAME": f"{parsed['NAME']}.test"}
    own = {"ENGINE": "dataflow.db.sqlite3", "OPTIONS": parsed.get("OPTIONS", {}) | options}
    return parsed | own | {"CONN_MAX_AGE": 600, "TEST": test}


def _kept(path: Path, value: str) -> str:
    """The content of ``path``, made with ``value`` when missing. Two processes that race agree on one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    if not path.exists():
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(value)
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # somebody was first: theirs is the one
        finally:
            draft.unlink()
    return path.read_text().strip()


def _read_secret_file(name: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _refused(f"{name}_FILE", str(path), f"The file cannot be read: {error}.") from error


def _require_debug(name: str, command: str, *, debug: bool) -> None:
    if not debug:
        hint = f"Make one with: {command}. For development set DEBUG=1 (as `make run` does): then one is generated."
        raise ImproperlyConfigured(f"{name} is not set, and DEBUG is off. {hint}")


def _bad_database_url() -> ImproperlyConfigured:
    # The value is not repeated: it may hold a password.
    return ImproperlyConfigured(
        "DATABASE_URL is not understood. Write postgresql://user:password@host:5432/name, "
        "or sqlite:////absolute/path.sqlite3, or leave it empty for SQLite in DATA_DIR."
    )


def _refused(name: str, value: str, hint: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"{name} is {value!r}, which does not work. {hint}")
