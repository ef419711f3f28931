"""Airflow's simple auth manager, with one DAG that one user may not see."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

#: May see every DAG but ``theirs``.
STRANGER = "stranger"


class TeamAuthManager(SimpleAuthManager):
    def is_authorized_dag(self, *, user: Any, details: Any = None, **arguments: Any) -> bool:
        if user.username == STRANGER and details is not None and details.id == "theirs":
            return False
        return bool(super().is_authorized_dag(user=user, details=details, **arguments))
