"""The one thing that pyproject.toml cannot say: a wheel holds `suites/` and `reports/` as
`bench/suites` and `bench/reports`, so that site-packages gets no top-level `suites`."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["bench", "bench.*", "hypersd", "hypersd.*"]),
        "bench.suites",
        "bench.reports",
    ],
    package_dir={"bench.suites": "suites", "bench.reports": "reports"},
)
