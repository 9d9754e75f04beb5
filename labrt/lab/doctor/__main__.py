"""`python -m labrt.lab.doctor`: print the report; exit code 1 when something failed."""

from __future__ import annotations

from labrt.lab.doctor import doctor

report = doctor()
print(report)
raise SystemExit(0 if report.ok else 1)
