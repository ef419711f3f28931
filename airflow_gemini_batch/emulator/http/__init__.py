"""How the service reads calls and answers errors: keys, bodies, field names, page tokens, refusals, HTTP faults."""
