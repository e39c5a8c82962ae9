"""The pages of secrets and connections, for administrators alone. No page shows a secret."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from dataflow.api.html import PageView
from dataflow.api.permissions import may_administer
from dataflow.lib.errors import ApiProblem
from executions import secret_store
from executions.secret_api import get_connection
from executions.secret_forms import ConnectionForm, SecretForm
from executions.secret_models import Connection, Secret
from tasks_lib.connections import KINDS

_LIST = "/secrets"


class AdministratorPage(PageView):
    """What these pages share."""

    here = "settings"
    refusal = "Only administrators (superusers) may see and change this."

    def is_allowed(self, request: HttpRequest) -> bool:
        """Reading included."""
        return may_administer(request)


class SecretsPage(AdministratorPage):
    """Every secret and connection by name, with forms for more."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """``?kind=`` chooses the kind of a new connection."""
        return self._page(SecretForm(auto_id="secret_%s"))

    def post(self, request: HttpRequest) -> HttpResponse:
        """Set a secret; or show the form again with what is wrong, without the value."""
        form = SecretForm(request.POST, auto_id="secret_%s")
        if form.is_valid():
            name, value = form.cleaned_data["name"], form.cleaned_data["value"].replace("\r\n", "\n")
            try:
                _, made = secret_store.set_secret(name=name, value=value, user=request.user)
            except ApiProblem as problem:
                form.show_problem(problem)
            else:
                messages.success(request, f"{name} is {'set' if made else 'replaced'}.")
                return redirect(_LIST)
        return self._page(form, status=400)

    def _page(self, form: SecretForm, *, status: int = 200) -> HttpResponse:
        kind = self.request.GET.get("kind", "")
        context: dict[str, Any] = {
            "secrets": list(Secret.objects.select_related("updated_by")),
            "connections": [
                secret_store.describe_connection(row) for row in Connection.objects.select_related("updated_by")
            ],
            "form": form,
            "kinds": list(KINDS.values()),
            "connection_form": ConnectionForm(kind) if kind in KINDS else None,
        }
        return self.render("executions/secrets/list.html", context, status=status)


class SecretPage(AdministratorPage):
    """The address of one secret has no page of its own."""

    def get(self, request: HttpRequest, name: str) -> HttpResponse:
        """To the list."""
        return redirect(_LIST)


class ConnectionsPage(AdministratorPage):
    """The connections; makes another one."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """They stand beside the secrets."""
        return redirect(f"{_LIST}#connections")

    def post(self, request: HttpRequest) -> HttpResponse:
        """Make one of ``kind``; or show the form again with what is wrong, without what is secret."""
        kind = request.POST.get("kind", "")
        if kind not in KINDS:
            raise Http404("There is no such kind of connection.")
        form = ConnectionForm(kind, request.POST)
        if form.is_valid() and _saved(self, form, form.cleaned_data["name"]):
            return redirect(f"{_LIST}#connections")
        return self.render("executions/secrets/connection.html", {"form": form, "name": ""}, status=400)


class ConnectionPage(AdministratorPage):
    """One connection, to be changed."""

    def get(self, request: HttpRequest, name: str) -> HttpResponse:
        """Its settings, but for what is secret."""
        return self._page(name, None)

    def post(self, request: HttpRequest, name: str) -> HttpResponse:
        """Replace it; or show the form again with what is wrong."""
        return self._page(name, request.POST)

    def _page(self, name: str, data: Any) -> HttpResponse:
        row = get_connection(name)
        shown = secret_store.describe_connection(row)
        form = ConnectionForm(row.kind, data, settings=shown["settings"], name=name)
        if data is not None and form.is_valid() and _saved(self, form, name):
            return redirect(f"{_LIST}#connections")
        context = {"form": form, "name": name, "connection": shown}
        return self.render("executions/secrets/connection.html", context, status=200 if data is None else 400)


class DeletePage(AdministratorPage):
    """Removes a secret or a connection."""

    def post(self, request: HttpRequest, what: str, name: str) -> HttpResponse:
        """Back to the list."""
        if what == "secrets":
            secret_store.delete_secret(name=name)
        else:
            secret_store.delete_connection(name=name)
        messages.success(request, f"{name} is deleted.")
        return redirect(_LIST)


def _saved(page: PageView, form: ConnectionForm, name: str) -> bool:
    """Whether the service took it; else the form says why not."""
    try:
        _, made = secret_store.put_connection(name=name, document=form.document(), user=page.request.user)
    except ApiProblem as problem:
        form.show_problem(problem)
        return False
    messages.success(page.request, f"The connection {name} is {'made' if made else 'changed'}.")
    return True
