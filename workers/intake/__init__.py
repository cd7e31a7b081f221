"""Reading what strangers upload: a sandbox (``python -m workers.intake.read_upload``) does; its answer is kept."""
