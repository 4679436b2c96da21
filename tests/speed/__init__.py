"""Benchmarks and calibrations, each run by itself as ``python -m tests.speed.NAME``; nothing here is collected by pytest.

Threads and instruction set are fixed here, as they are for the stages, before any benchmark imports numpy or torch.
"""

import stages

stages.pin()
