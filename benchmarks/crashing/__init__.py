"""The crash harness, room by room.

scenarios    what is run, and what goes wrong at the service meanwhile
haste        the engine's waits, made short in the children
boundaries   the steps of a try, counted and died at
work         what a child does: a trip of the engine, a leg of an operator, a trigger's wait
children     fork, listen, kill
courses      what is called next, and what again, as a user or Airflow would
journeys     one run with its crashes, from the first call to the audit
audit        what the service says was created, and what the tables hold
lanes        processes that make journeys side by side, each with a service of its own
plan         which journey is made next
report       the figures
"""
