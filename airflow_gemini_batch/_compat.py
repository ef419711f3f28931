"""Names that moved between the supported Airflow releases (3.1 and later). Found by trying imports, not by version."""

from __future__ import annotations

import asyncio

from airflow.sdk.log import mask_secret

try:  # Airflow 3.2 and later
    from airflow.sdk.exceptions import (
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTimeout,
        TaskDeferred,
    )
except ImportError:
    from airflow.exceptions import (  # type: ignore[no-redef, attr-defined]
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTimeout,
        TaskDeferred,
    )

__all__ = [
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "TaskDeferred",
    "allow_in_xcom",
    "amask_secret",
]


def allow_in_xcom(*classes: type) -> None:
    """Let tasks of this process read objects of these classes from XCom. Before Airflow 3.3, only the configuration can."""
    try:
        from airflow.sdk.serde import allow_class
    except ImportError:
        return
    for one in classes:
        allow_class(one)


async def amask_secret(secret: str) -> None:
    """Mask a secret from inside an event loop, where the synchronous call could deadlock."""
    try:
        from airflow.sdk.log import amask_secret as of_airflow  # Airflow 3.3 and later
    except ImportError:
        await asyncio.to_thread(mask_secret, secret)
    else:
        await of_airflow(secret)
