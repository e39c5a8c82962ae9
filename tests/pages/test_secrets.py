"""The pages of secrets and connections, and their admin: set, replaced, deleted, never shown."""

from __future__ import annotations

import json

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from executions import secret_store
from executions.models import Connection, Secret

pytestmark = pytest.mark.django_db

CANARY = "canary value 0815"
URL = "postgresql://reader:canary-pw-1@db.example.com/shop"


def test_a_secret_is_set_replaced_and_deleted(web, read, send):
    assert "None yet." in read("/secrets")
    for value, word in ((CANARY, "set"), (f"{CANARY} 2", "replaced")):
        assert send("/secrets", "/secrets", name="TOKEN", value=value).status_code == 302
        page = read("/secrets")
        assert f"TOKEN is {word}." in page
        assert "{{secrets.TOKEN}}" in page
        assert "canary" not in page
    assert secret_store.values_of(["TOKEN"]) == {"TOKEN": f"{CANARY} 2"}
    assert web.get("/secrets/TOKEN").status_code == 302
    assert send("/secrets", "/pages/secrets/TOKEN/delete").status_code == 302
    assert not Secret.objects.exists()
    assert send("/secrets", "/pages/secrets/TOKEN/delete").status_code == 404


def test_a_wrong_one_comes_back_without_its_value(send):
    refused = send("/secrets", "/secrets", name="token", value=CANARY)
    assert refused.status_code == 400
    assert "capital letters" in refused.content.decode()
    assert CANARY not in refused.content.decode()
    assert "at least 8 characters" in send("/secrets", "/secrets", name="TOKEN", value="short").content.decode()


def test_a_connection_is_made_changed_and_deleted(read, send):
    page = read("/secrets?kind=sql")
    assert 'name="url"' in page
    made = send("/secrets?kind=sql", "/connections", kind="sql", name="shop", url=URL, read_only="on")
    assert made.status_code == 302
    assert "canary" not in read("/secrets") + read("/connections/shop")
    assert send("/connections/shop", "/connections/shop", url="").status_code == 302
    assert secret_store.connection_of("shop", "sql") == {"url": URL, "read_only": False}, "an empty secret is kept"
    wrong = send("/connections/shop", "/connections/shop", url="no address canary")
    assert wrong.status_code == 400
    assert "It must be like postgresql://" in wrong.content.decode()
    assert "canary" not in wrong.content.decode()
    refused = send("/secrets?kind=sql", "/connections", kind="sql", name="Shop!", url=URL)
    assert refused.status_code == 400
    assert "canary" not in refused.content.decode()
    assert send("/secrets?kind=sql", "/connections", kind="none", name="x").status_code == 404
    assert send("/secrets", "/pages/connections/shop/delete").status_code == 302
    assert not Connection.objects.exists()


@pytest.mark.parametrize("kind", ["openai", "sql", "email", "slack", "s3"])
def test_every_kind_has_a_form(read, kind):
    assert f'name="kind" value="{kind}"' in read(f"/secrets?kind={kind}")


def test_only_administrators(settings):
    settings.DEBUG = False
    settings.SECURE_SSL_REDIRECT = False
    secret_store.put_connection(name="main", document={"kind": "openai", "settings": {}})
    client = Client(headers={"accept": "text/html"})
    pages = ("/secrets", "/connections/main")
    assert [client.get(page).status_code for page in pages] == [302, 302]
    client.force_login(User.objects.create_user("staff", is_staff=True))
    assert [client.get(page).status_code for page in pages] == [403, 403]
    assert client.post("/pages/connections/main/delete").status_code == 403
    assert client.post("/secrets", {"name": "TOKEN", "value": CANARY}).status_code == 403
    client.force_login(User.objects.create_superuser("root"))
    assert [client.get(page).status_code for page in pages] == [200, 200]
    assert client.post("/secrets", {"name": "TOKEN", "value": CANARY}).status_code == 302
    assert str(Secret.objects.get().updated_by) == "root"


def test_the_admin_writes_and_never_shows():
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    base = "/admin/executions/secret/"
    wrong = client.post(f"{base}add/", {"name": "lower", "new_value": "short"}).content.decode()
    assert "capital letters" in wrong
    assert "at least 8 characters" in wrong
    assert client.post(f"{base}add/", {"name": "TOKEN", "new_value": CANARY}).status_code == 302
    assert client.post(f"{base}TOKEN/change/", {"new_value": f"{CANARY} 2"}).status_code == 302
    assert secret_store.values_of(["TOKEN"]) == {"TOKEN": f"{CANARY} 2"}
    secret_store.put_connection(name="shop", document={"kind": "sql", "settings": {"url": URL}})
    for page in (base, f"{base}TOKEN/change/", f"{base}TOKEN/history/", "/admin/executions/connection/",
                 "/admin/executions/connection/shop/change/"):  # fmt: skip
        answer = client.get(page)
        assert answer.status_code == 200, page
        assert "canary" not in answer.content.decode()
        assert Secret.objects.get().value not in answer.content.decode()
    assert client.get("/admin/executions/connection/add/").status_code == 403
    for one in ("secret/TOKEN", "connection/shop"):
        assert client.post(f"/admin/executions/{one}/delete/", {"post": "yes"}).status_code == 302
    assert not Secret.objects.exists()
    assert not Connection.objects.exists()


def test_the_admin_is_for_superusers_whatever_permissions_others_have():
    secret_store.set_secret(name="TOKEN", value=CANARY)
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.all())
    client = Client()
    client.force_login(user)
    assert client.get("/admin/executions/secret/").status_code == 403
    assert client.post("/admin/executions/secret/add/", {"name": "T", "new_value": CANARY}).status_code == 403


def test_the_editor_warns_of_what_is_not_there(web, send):
    task = {"name": "a", "type": "text.echo", "inputs": {"text": "{{secrets.ABSENT}}"}}
    saved = send("/workflows/new", "/workflows/new", document=json.dumps({"title": "T", "tasks": [task]}))
    assert saved.status_code == 302
    page = web.get(saved["Location"]).content.decode()
    assert "/tasks/0/inputs/text: There is no secret `ABSENT`." in page
