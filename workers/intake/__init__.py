"""Reading what strangers upload: a sandbox does; its answer is kept."""
