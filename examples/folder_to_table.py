"""Count the expressions in a folder of photographs.

python examples/folder_to_table.py examples/photos
"""

import sys
from collections import Counter

import mftn

recognizer = mftn.load()
counts: Counter[str] = Counter()
for prediction in recognizer.stream(sys.argv[1]):
    counts.update(face.expression for face in prediction.faces)
for expression, count in counts.most_common():
    print(f"{count:6}  {expression}")
