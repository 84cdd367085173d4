"""The server process from which tests fork processes: it has imported their modules, which takes seconds."""

import multiprocessing

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["twap_pipeline_tests.loader_process", "twap_pipeline_tests.storage.deployer"])
