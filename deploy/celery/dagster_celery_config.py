"""Settings of the Celery workers that execute Dagster's runs; docs/how-to/scale-out.md explains each of them.

dagster-celery imports this module by its name: its folder must be in PYTHONPATH of the workers. The daemon and the web
server do not read it; their broker is in dagster.yaml.
"""

import os

broker_url = os.environ["CELERY_BROKER_URL"]
result_backend = os.environ["CELERY_RESULT_BACKEND"]

worker_concurrency = 1
worker_prefetch_multiplier = 1
task_acks_late = True
broker_transport_options = {"visibility_timeout": 18000}
broker_connection_retry_on_startup = True
