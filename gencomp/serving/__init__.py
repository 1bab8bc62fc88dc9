"""`gencomp serve`: the codec over HTTP, with bounds on all that a client can ask for."""
