"""The crash harness, module by module.

scenarios          what is run, and which faults the service has meanwhile
short_waits        shortens the engine's waits in the child processes
boundaries         names and counts the steps of a try, and kills the process at one of them
calls              one call in a child process: run_batch, a task of an operator, or a trigger
child_process      forks child processes, reads what they report, and kills them
call_sequences     which call comes next, and which one is repeated, as a user or Airflow would do it
runner             runs one scenario with its crashes, from the first call to the audit
source_table       the table that is run, and which of its rows repeat another row's request
audit              compares the tables with the source, and counts the jobs that the service created
copies_audit       compares the rows that did not pay themselves with those that paid
reuse_audit        compares the rows that took an earlier run's answer with that run
runner_processes   processes that run scenarios in parallel, each with its own service
plan               chooses the scenario to run next
report             the figures
"""
