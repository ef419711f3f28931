"""The emulator, the connection and real DAG runs, as the operators' own tests have them."""

from tests.integration.airflow.conftest import airflow_db, connect, describe, emulator, run_dag, source

__all__ = ["airflow_db", "connect", "describe", "emulator", "run_dag", "source"]
