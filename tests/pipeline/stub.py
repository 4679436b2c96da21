"""Stands in for a stage in tests of the graph: makes each named output, small and always the same."""

import sys
from pathlib import Path

for name in sys.argv[1:]:
    path = Path(name)
    content = f"{name}\n"
    if path.suffix == ".json":
        content = '{"value": 1.0}\n'
    elif path.suffix == ".csv":
        content = "x,y,step,value\n0,0,0,0\n"
    elif not path.suffix:
        path = path / "content"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
