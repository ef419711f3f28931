"""The fixtures of the operators' tests: the emulator, the connection and real DAG runs."""

from tests.integration.airflow.conftest import airflow_db, connect, describe, emulator, run_dag, source, write_dag

__all__ = ["airflow_db", "connect", "describe", "emulator", "run_dag", "source", "write_dag"]
