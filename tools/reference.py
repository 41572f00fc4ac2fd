"""Write the pages that are generated from code: commands, recipe, errors, rules, JSON, man."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from otabuild.recipe.schema import json_schema
from tools.json_page import json_page
from tools.reference_commands import commands_page, man_page
from tools.reference_pages import errors_page, recipe_page, rules_page


def pages() -> dict[str, str]:
    """Return the pages by name."""
    schema = json.dumps(json_schema(), ensure_ascii=False, indent=2)
    return {
        "commands.md": commands_page(),
        "errors.md": errors_page(),
        "json.md": json_page(),
        "otabuild.1": man_page(),
        "recipe.md": recipe_page(),
        "recipe.schema.json": f"{schema}\n",
        "rules.md": rules_page(),
    }


def main(folder: Path) -> None:
    """Write the pages to a folder."""
    for name, content in pages().items():
        (folder / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
