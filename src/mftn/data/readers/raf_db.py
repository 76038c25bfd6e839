"""RAF-DB basic: 15,339 photographs of one face each, in seven expressions.

`EmoLabel/list_patition_label.txt` (sic) lists every image with a number from 1 to 7; the images are in
`Image/aligned` (100×100) and `Image/original`. Source: Li, Deng and Du, CVPR 2017.
"""

from collections.abc import Iterator
from pathlib import Path

from mftn.data.readers import DataSet, ReadOptions, read_lines
from mftn.data.records import Record
from mftn.errors import DataError

NUMBERS = dict(enumerate(("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"), start=1))


def read(root: Path, options: ReadOptions) -> Iterator[Record]:
    """The rows of the list in order; `test_…` is the test split, whose crops lie in `valid/` as published."""
    table = root / "EmoLabel" / "list_patition_label.txt"
    if not table.is_file():
        raise DataError(f"{table}: missing; give the folder that holds EmoLabel and Image (RAF-DB's `basic`)")
    kind = "aligned" if options.aligned else "original"
    folder = root / "Image" / kind
    if not folder.is_dir():
        other = "add --original" if options.aligned else "omit --original"
        raise DataError(f"{folder}: missing; extract {kind}.zip, or {other} if you have the other images of RAF-DB")
    for where, row in read_lines(table):
        try:
            file, number = row.split()
            label = NUMBERS[int(number)]
        except (ValueError, KeyError) as error:
            raise DataError(f"{where}: expected an image and a number from 1 to 7: {row!r}") from error
        if not file.startswith(("train_", "test_")):
            raise DataError(f"{where}: {file} is neither train_… nor test_…")
        test, stem = file.startswith("test_"), Path(file).stem
        source = folder / (f"{stem}_aligned.jpg" if options.aligned else file)
        name = f"{'valid' if test else 'train'}/{stem}_aligned"
        yield Record(source, where, name, "test" if test else "train", label)


DATA_SET = DataSet(
    "RAF-DB",
    read,
    {
        "train": dict(zip(NUMBERS.values(), (1290, 281, 717, 4772, 1982, 705, 2524), strict=True)),
        "test": dict(zip(NUMBERS.values(), (329, 74, 160, 1185, 478, 162, 680), strict=True)),
    },
    "non-commercial research only; on request from its owners; may not be passed on",
)
