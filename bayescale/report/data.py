"""A report as JSON: the numbers under stable keys, and every section as data."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np

from bayescale.report.content import Block, Code, Content, Picture, Table


def to_json(content: Content) -> str:
    """The report for a script.

    Parameters
    ----------
    content : Content
    """
    facts = {
        "title": content.title,
        "alarm": content.alarm,
        "answer": list(content.answer),
        "basis": list(content.basis),
        "numbers": _finite(content.numbers),
        "sections": [
            {
                "key": each.key,
                "title": each.title,
                "blocks": [_plain(block) for block in each.blocks],
            }
            for each in content.sections
        ],
    }
    return json.dumps(facts, indent=2, ensure_ascii=False) + "\n"


def _plain(block: Block) -> dict[str, Any]:
    match block:
        case Table():
            rows = [list(row) for row in block.rows]
            return {"table": block.caption, "header": list(block.header), "rows": rows}
        case Picture():
            return {"figure": block.caption, "alt": block.alt}
        case Code():
            return {"code": block.text}
        case tuple():
            return {"notes": [asdict(note) for note in block]}
        case _:
            return {"text": block}


def _finite(value: Any) -> Any:
    """Numbers that JSON can hold: what is not finite becomes null."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
