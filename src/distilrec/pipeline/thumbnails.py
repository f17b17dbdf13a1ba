"""Pictures of the items that a report lists, for its page; they stay out of report.json."""

from __future__ import annotations

import base64
import importlib.util
import io

from distilrec.data import Dataset
from distilrec.encoders.media import read_image
from distilrec.errors import DataError
from distilrec.report import Report

__all__ = ["thumbnails"]

HEIGHT, WIDEST = 72, 144  # pixels, twice of what is shown


def thumbnails(report: Report, dataset: Dataset) -> dict[str, str]:
    """By item id: a JPEG as a data URI, of the items in the report's example lists, where images of them are known.

    Empty without images among the items' content, or without Pillow; an image that can't be read is left out.
    """
    contents = next((each for each in dataset.contents.values() if each.modality.kind == "image"), None)
    if contents is None or importlib.util.find_spec("PIL") is None:
        return {}
    listed = {entry.item for example in report.examples for entry in (*example.teacher, *example.student)}
    places = dataset.item_ids.encode(sorted(listed))
    found = {}
    for place, value in contents.of(places[places >= 0]).items():
        try:
            image = read_image(value)
        except DataError:
            continue
        image.thumbnail((WIDEST, HEIGHT))
        file = io.BytesIO()
        image.save(file, "jpeg", quality=80)
        name = str(dataset.item_ids.values[place])
        found[name] = f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
    return found
