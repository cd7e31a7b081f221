"""Who runs what and when. Celery carries bells; the rows in the database are the jobs.

A Celery process never computes and never imports torch: it claims a row and watches a child that does the work
(``workers.runner`` for certifications, ``workers.intake.fork_server`` for intake). Whatever happens to a child, the row
knows.
"""
