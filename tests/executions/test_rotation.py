"""``manage.py rotate_secrets``: everything encrypted gets the newest key, while others work, once or twice."""

from __future__ import annotations

import ast
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command

from executions import rotation, secret_store, signing, vault
from executions.models import Connection, Execution, Hook, Secret
from executions.rotation import COLUMNS
from executions.triggers.hooks import create_hook
from tests.factories import make_execution, make_workflow

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parents[2] / "executions"


@pytest.fixture
def everything() -> None:
    """One value in each column."""
    secret_store.set_secret(name="TOKEN", value="a secret value")
    secret_store.put_connection(name="main", document={"kind": "openai", "settings": {"api_key": "sk-connected"}})
    workflow = make_workflow()
    create_hook(
        workflow=workflow,
        document={"name": "h", "signature": "github", "secret": "of the hook", "inputs": {"text": "x"}},
    )
    make_execution(
        workflow, secrets=vault.encrypt('{"OPENAI_API_KEY": "sk-own"}'), webhook_secret=vault.encrypt("whsec_a")
    )
    make_execution(workflow)
    signing.installation_keys()


def run() -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("rotate_secrets", stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_everything_gets_the_newest_key(everything: None, settings: Any) -> None:
    new = Fernet.generate_key().decode()
    old = settings.DATAFLOW_ENCRYPTION_KEYS
    settings.DATAFLOW_ENCRYPTION_KEYS = [new, *old]
    said, wrong = run()
    assert said.count("1 renewed, 0 had the newest key") == len(COLUMNS), said
    assert "Run it once more" in said
    assert wrong == ""
    assert run()[0].count("0 renewed, 1 had the newest key") == len(COLUMNS)
    settings.DATAFLOW_ENCRYPTION_KEYS = [new]
    assert secret_store.values_of(["TOKEN"]) == {"TOKEN": "a secret value"}
    assert secret_store.connection_of("main", "openai") == {"api_key": "sk-connected"}
    assert vault.decrypt(Hook.objects.get().secret) == "of the hook"
    row = Execution.objects.exclude(secrets="").get()
    assert (vault.decrypt(row.secrets), vault.decrypt(row.webhook_secret)) == (
        '{"OPENAI_API_KEY": "sk-own"}',
        "whsec_a",
    )
    assert len(signing.installation_keys()) == 1


def test_what_no_key_opens_is_named_and_left(everything: None, settings: Any) -> None:
    Secret.objects.filter(pk="TOKEN").update(value="not a token")
    settings.DATAFLOW_ENCRYPTION_KEYS = [Fernet.generate_key().decode(), *settings.DATAFLOW_ENCRYPTION_KEYS]
    said, wrong = run()
    assert wrong == "  secret.value of TOKEN: no key opens it; it is left as it is\n"
    assert said.count("1 renewed") == len(COLUMNS) - 1
    assert Secret.objects.get().value == "not a token"


def test_what_is_changed_meanwhile_stays(everything: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.DATAFLOW_ENCRYPTION_KEYS = [Fernet.generate_key().decode(), *settings.DATAFLOW_ENCRYPTION_KEYS]
    renewed = vault.renewed

    def slowly(token: str) -> str | None:
        if token == Secret.objects.get().value:
            secret_store.set_secret(name="TOKEN", value="set meanwhile")
        return renewed(token)

    monkeypatch.setattr(vault, "renewed", slowly)
    assert rotation.rotate()["secret.value"].changed == 1
    assert secret_store.values_of(["TOKEN"]) == {"TOKEN": "set meanwhile"}


def test_rows_come_in_batches(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "BATCH", 2)
    for number in range(5):
        secret_store.set_secret(name=f"TOKEN_{number}", value=f"value number {number}")
    settings.DATAFLOW_ENCRYPTION_KEYS = [Fernet.generate_key().decode(), *settings.DATAFLOW_ENCRYPTION_KEYS]
    assert rotation.rotate()["secret.value"].renewed == 5
    assert not Connection.objects.exists()


def test_no_user_of_the_vault_is_forgotten() -> None:
    """Who encrypts something new adds its column to ``COLUMNS`` and its module here."""
    users = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if (node.value.id, node.attr) == ("vault", "encrypt")
    }
    assert users == {"outside.py", "secret_store.py", "signing.py", "starting.py", "triggers/hooks.py"}
