"""Fail when a test run holds no passed test of a folder: a skipped suite must not look like a green one.

python test/require_ran.py out/junit.xml nodes
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def passed(junit: Path, folder: str) -> int:
    """Passed tests whose file lies in test/<folder>."""
    cases = ET.parse(junit).getroot().iter("testcase")
    return sum(
        1 for c in cases if f"test.{folder}." in f"{c.get('classname')}." and not any(c.find(tag) is not None for tag in ("skipped", "failure", "error"))
    )


def main() -> int:
    """Command line."""
    junit, folder = Path(sys.argv[1]), sys.argv[2]
    count = passed(junit, folder)
    if not count:
        print(f"error: no test of test/{folder} ran and passed ({junit}); skipped is not tested", file=sys.stderr)
        return 1
    print(f"test/{folder}: {count} passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
