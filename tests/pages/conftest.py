"""A browser without JavaScript: Django's test client that asks for HTML."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.test import Client

Read = Callable[[str], str]


@pytest.fixture
def web(db: None) -> Client:
    """A client that prefers pages and checks CSRF as the real server does."""
    return Client(headers={"accept": "text/html"}, enforce_csrf_checks=True)


@pytest.fixture
def read(web: Client) -> Read:
    """The HTML at an address that must answer 200."""

    def get(address: str) -> str:
        response = web.get(address)
        assert response.status_code == 200, response.content[:2000]
        return response.content.decode()

    return get


@pytest.fixture
def send(web: Client) -> Callable[..., object]:
    """Fill in the form of a page (which gives the CSRF token) and send it to an address."""

    def post(page: str, address: str, **fields: object) -> object:
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', web.get(page).content.decode())
        assert found, f"{page} has no form"
        return web.post(address, {"csrfmiddlewaretoken": found[1], **fields})

    return post
