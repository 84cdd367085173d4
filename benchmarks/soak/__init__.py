"""A soak: the whole pipeline under faults for as long as asked, and then held against a run without any."""
