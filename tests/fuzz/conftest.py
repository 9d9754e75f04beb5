"""Fuzzing with hypothesis: a few dozen fixed examples in the suite; with LABRT_LONG=1 many, and new ones each time.

    LABRT_LONG=1 python -m pytest tests/fuzz            20,000 of each, which takes hours of CPU
    LABRT_LONG=1000 python -m pytest tests/fuzz         1,000 of each
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_HEALTHY = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
settings.register_profile("suite", max_examples=60, derandomize=True, database=None, deadline=None,
                          suppress_health_check=_HEALTHY)  # fmt: skip
_LONG = int(os.environ.get("LABRT_LONG") or 0)
settings.register_profile("long", max_examples=_LONG if _LONG > 1 else 20_000, database=None, deadline=None,
                          suppress_health_check=_HEALTHY)  # fmt: skip
settings.load_profile("long" if _LONG else "suite")
