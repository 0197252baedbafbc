"""dbt's documentation as one page, with what each column comes from."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.gold.lineage import find_origins


def add_origins(page: Path) -> None:
    """Make dbt's page anew, with what each column comes from in its description.

    Args:
        page: as `dbt docs generate --static` has written it, beside the files that it is made of.
    """
    manifest, catalog = (
        json.loads((page.parent / f"{name}.json").read_text()) for name in ("manifest", "catalog")
    )
    describe_origins(manifest, find_origins(manifest, catalog))
    text = (page.parent / "index.html").read_text()
    # as dbt itself does it
    text = text.replace('"MANIFEST.JSON INLINE DATA"', json.dumps(manifest))
    text = text.replace('"CATALOG.JSON INLINE DATA"', json.dumps(catalog))
    page.write_text(text)


def describe_origins(manifest: dict[str, Any], origins: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
    """Add to the descriptions of columns in dbt's manifest where they come from."""
    for key, columns in origins.items():
        documented = manifest["nodes"][key]["columns"]
        for name in columns.keys() & documented.keys():
            if columns[name]:
                places = ", ".join(f"`{place}`" for place in columns[name])
                documented[name]["description"] += f" From {places}."
