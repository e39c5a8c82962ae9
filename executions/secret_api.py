"""The HTTP API of secrets and connections, for administrators alone. No answer holds a secret."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from dataflow.api.permissions import AdministratorApiAccess
from dataflow.lib.errors import Problem, invalid, not_found
from executions import secret_store
from executions.secret_models import Connection, Secret
from executions.start_body import object_with


class AdministratorView(APIView):
    """What these views share."""

    permission_classes = [AdministratorApiAccess]


class SecretsView(AdministratorView):
    """``/secrets``."""

    def get(self, request: Request) -> Response:
        """The names, and who set them when."""
        rows = Secret.objects.select_related("updated_by")
        return Response({"secrets": [secret_store.describe_secret(row) for row in rows]})


class SecretView(AdministratorView):
    """``/secrets/{NAME}``."""

    def get(self, request: Request, name: str) -> Response:
        """Who set it when."""
        row = Secret.objects.select_related("updated_by").filter(pk=name).first()
        if row is None:
            raise not_found("secret", name)
        return Response(secret_store.describe_secret(row))

    def put(self, request: Request, name: str) -> Response:
        """Set it: 201 for a new one, 200 for one that is replaced."""
        body = object_with(request.data, ("value",))
        row, made = secret_store.set_secret(name=name, value=_given(body, "value"), user=request.user)
        return _stored(f"/secrets/{row.pk}", secret_store.describe_secret(row), made=made)

    def delete(self, request: Request, name: str) -> Response:
        """Remove it. What refers to it fails from then on."""
        secret_store.delete_secret(name=name)
        return Response(status=204)


class ConnectionsView(AdministratorView):
    """``/connections``."""

    def get(self, request: Request) -> Response:
        """All of them, their secret settings masked."""
        rows = Connection.objects.select_related("updated_by")
        return Response({"connections": [secret_store.describe_connection(row) for row in rows]})


class ConnectionView(AdministratorView):
    """``/connections/{name}``."""

    def get(self, request: Request, name: str) -> Response:
        """One, its secret settings masked."""
        return Response(secret_store.describe_connection(get_connection(name)))

    def put(self, request: Request, name: str) -> Response:
        """Set it: 201 for a new one, 200 for one that is replaced."""
        body = object_with(request.data, ("kind", "settings"))
        row, made = secret_store.put_connection(name=name, document=dict(body), user=request.user)
        return _stored(f"/connections/{row.pk}", secret_store.describe_connection(row), made=made)

    def delete(self, request: Request, name: str) -> Response:
        """Remove it. What refers to it fails from then on."""
        secret_store.delete_connection(name=name)
        return Response(status=204)


def get_connection(name: str) -> Connection:
    """A connection. Raises ``ApiProblem`` 404."""
    row = Connection.objects.select_related("updated_by").filter(pk=name).first()
    if row is None:
        raise not_found("connection", name)
    return row


def _given(body: Any, name: str) -> Any:
    if name not in body:
        detail = f"`{name}` is missing."
        raise invalid(detail, [Problem(pointer=f"/{name}", code="required", detail=detail)])
    return body[name]


def _stored(address: str, shown: dict[str, Any], *, made: bool) -> Response:
    return Response(shown, status=201 if made else 200, headers={"Location": address} if made else None)
