"""All SQL. A function takes a session and never commits: the unit of work ends at the edge (``Database.write``)."""
