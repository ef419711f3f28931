"""Who may see a run, and where it is.

Airflow does not authenticate requests below a plugin's prefix, so every route that shows anything depends on these functions. Two
rules must not be relaxed: a request names a task instance and never a folder, and what is read is shown only if the caller may
read the XComs of the DAG that was named *and* of the DAG that built the run, as its manifest says. The second one matters because
who may write an XCom could point it to the folder of another team.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from airflow.models.xcom import XComModel
from fastapi import Depends, HTTPException, Request
from sqlalchemy import select

from airflow_gemini_batch.links import RUN_KEY, SHARD_KEY

#: Schemes under which no run can be: the server must not send requests to wherever an XCom says.
_NO_PLACE = frozenset({"http", "https", "ftp"})

#: Rows of XCom that are looked through for a list of runs: a bound for the memory of a request, above what a deployment keeps.
_MOST_ENTRIES = 50_000


class Place(NamedTuple):
    """A task instance and the URI of its run. ``run_id`` is Airflow's, of the DAG run."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    destination: str

    @property
    def owner(self) -> str:
        """The task instance as the manifest of a run names it."""
        return f"{self.dag_id}/{self.run_id}/{self.task_id}/{self.map_index}"

    @property
    def query(self) -> dict[str, str]:
        """What names the task instance in every address of the page."""
        return {"dag_id": self.dag_id, "run_id": self.run_id, "task_id": self.task_id, "map_index": str(self.map_index)}


class Caller:
    """Who asks. Made by a dependency, so an anonymous request does not come this far."""

    def __init__(self, request: Request, user: Any) -> None:
        self._request, self._user = request, user
        self._known: dict[str, bool] = {}

    def may_see(self, dag_id: str) -> bool:
        """Whether the caller may read the XComs of a DAG."""
        if dag_id not in self._known:
            self._known[dag_id] = self._asked(dag_id)
        return self._known[dag_id]

    def may_see_run_of(self, owner: str | None) -> bool:
        """
        :param owner: the task instance in a run's manifest. A run that no task has built is shown to nobody here.
        """
        return owner is not None and self.may_see(owner.partition("/")[0])

    def _asked(self, dag_id: str) -> bool:
        if dag_id in ("", "~"):  # for Airflow's own check, these are no particular DAG
            return False
        try:
            requires_access_dag("GET", DagAccessEntity.XCOM, param_dag_id=dag_id)(self._request, self._user)
        except HTTPException:
            return False
        return True


def caller_of(request: Request, user: GetUserDep) -> Caller:
    return Caller(request, user)


CallerDep = Annotated[Caller, Depends(caller_of)]


def authorised(caller: CallerDep, dag_id: str = "") -> Caller:
    """The caller, who may see the DAG of the request. Raises HTTPException: 403, whether or not there is such a DAG."""
    if not caller.may_see(dag_id):
        raise HTTPException(403, "Forbidden")
    return caller


AuthorisedDep = Annotated[Caller, Depends(authorised)]


def places(session: Any, dag_ids: list[str], run_id: str | None = None, *, keys: tuple[str, ...] = (RUN_KEY,)) -> list[Place]:
    """The runs that tasks of these DAGs have recorded, the newest first.

    :param session: of Airflow's database.
    :param run_id: of the DAG run. Default: all DAG runs.
    """
    named = (XComModel.dag_id, XComModel.run_id, XComModel.task_id, XComModel.map_index, XComModel.value)
    query = select(*named).where(XComModel.key.in_(keys), XComModel.dag_id.in_(dag_ids))
    if run_id is not None:
        query = query.where(XComModel.run_id == run_id)
    entries = session.execute(query.order_by(XComModel.timestamp.desc()).limit(_MOST_ENTRIES))
    found = [Place(each.dag_id, each.run_id, each.task_id, each.map_index, _value(each)) for each in entries]
    return [place for place in found if place.destination]


def place_of_task(session: Any, dag_id: str, run_id: str, task_id: str, map_index: int) -> Place | None:
    """What a task instance has recorded, if anything."""
    query = select(XComModel).where(
        XComModel.key.in_((RUN_KEY, SHARD_KEY)),
        XComModel.dag_id == dag_id,
        XComModel.run_id == run_id,
        XComModel.task_id == task_id,
        XComModel.map_index == map_index,
    )
    entry = session.scalars(query.limit(1)).first()
    place = None if entry is None else Place(dag_id, run_id, task_id, map_index, _value(entry))
    return place if place is not None and place.destination else None


def dags_with_runs(session: Any) -> list[str]:
    """The DAGs of which a task has recorded a run."""
    return sorted(session.scalars(select(XComModel.dag_id).where(XComModel.key == RUN_KEY).distinct()))


def _value(entry: Any) -> str:
    value = XComModel.deserialize_value(entry)
    if not isinstance(value, str) or "::" in value:  # fsspec's chains reach every scheme: simplecache::https://…
        return ""
    return "" if value.partition("://")[0].lower() in _NO_PLACE else value


__all__ = [
    "AuthorisedDep",
    "Caller",
    "CallerDep",
    "Place",
    "SessionDep",
    "dags_with_runs",
    "place_of_task",
    "places",
]
