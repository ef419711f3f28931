"""The page about runs in Airflow's UI: server-rendered, read from the runs' own folders."""
