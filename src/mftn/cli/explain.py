"""Show what a network looks at: class-activation maps of its stages and heads, and its attention, for each face."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from mftn.cli.messages import LOG
from mftn.cli.options import SOURCES, Options, OutFolder, Switch, Unset
from mftn.cli.outputs import check_folders, check_outputs
from mftn.faces import DetectorName
from mftn.files import UniqueNames, visible
from mftn.labels import EXPRESSIONS
from mftn.sources import find_sources

if TYPE_CHECKING:
    from mftn.export.deployed import Normalise
    from mftn.faces import Detector
    from mftn.models import Network

MAX_FACES = 8
"""Maximum number of faces shown per image, the largest first."""


@dataclass(frozen=True)
class Arguments(Options):
    """Options of `mftn explain`.

    Attributes:
        source: Images, folders of images, globs.
        model: A checkpoint of `mftn train`, a file of `mftn export`, or the name of an installed model. By default
            mftn_mobile_ferplus.
        out: Folder for the figures, one per image.
        expression: The expression to explain; by default each face's most probable one, as in
            `mftn predict --no-flip`.
        detector: Face detector; none treats each image as one face.
        overwrite: Replace existing figures; a source is never replaced.
    """

    source: Annotated[tyro.conf.Positional[tuple[str, ...]], SOURCES]
    model: Unset[str] = None
    out: OutFolder = Path("explanations")
    expression: Unset[Literal[EXPRESSIONS]] = None  # type: ignore[valid-type]
    detector: DetectorName = "yunet"
    overwrite: Switch = False


EXAMPLES = (
    "mftn explain photo.jpg",
    "mftn explain photos/ --expression fear --out explanations/",
)


def run(arguments: Arguments) -> int:
    """Write one figure per image; images that cannot be read are reported and skipped."""
    from mftn.engines import find_model
    from mftn.errors import ConfigError, ImageError

    if not arguments.source:
        raise ConfigError("name the images to explain, such as photos/ or face.jpg")
    sources = list(find_sources(arguments.source, skip={arguments.out.resolve()}))
    names = UniqueNames()
    figures = [arguments.out / f"{names.name(Path(source.path).stem)}.png" for source in sources]
    check_folders({"--out": arguments.out}, arguments.source)
    existing = [("--out", figure) for figure in figures if figure.exists()]
    check_outputs(existing, [source.path for source in sources], arguments.overwrite)
    model = find_model(arguments.model)

    from mftn.export.deployed import Normalise  # only now: torch takes seconds
    from mftn.export.recover import load_network
    from mftn.faces import load_detector

    network = load_network(model)
    labels = network.described().labels
    if arguments.expression and arguments.expression not in labels:
        raise ConfigError(f"--expression {arguments.expression}: the model's expressions are {', '.join(labels)}")
    detector = load_detector(arguments.detector)
    normalise = Normalise(network.described())
    failed = 0
    for source, file in zip(sources, figures, strict=True):
        path = source.path
        try:
            if source.error:
                raise ImageError(source.error)
            shown = _explain(path, detector, network, normalise, arguments.expression, file)
        except ImageError as error:
            failed += 1
            LOG.error(str(error))
            continue
        what = f"{', '.join(shown)} → {file}" if shown else "no face found"
        print(visible(f"{path}: {what}"))
    return 1 if failed else 0


def _explain(
    path: str,
    detector: "Detector",
    network: "Network",
    normalise: "Normalise",
    expression: str | None,
    file: Path,
) -> list[str]:
    """Draw the figure of one image and return each face's expression."""
    import numpy as np
    import torch

    from mftn.evaluate.explain import explain
    from mftn.evaluate.figures import explanation_grid
    from mftn.faces.boxes import area
    from mftn.figures import save_figure
    from mftn.images import read_image
    from mftn.recognize import crop_face

    image = read_image(path)
    faces = sorted(detector.detect(image), key=lambda face: float(area(face.box)), reverse=True)[:MAX_FACES]
    if not faces:
        return []
    spec = network.described()
    template = np.asarray(spec.template)
    crops = np.stack([crop_face(image, face, spec.size, template) for face in faces])
    # The figure shows the faces at a higher resolution than the network's input.
    fine = [crop_face(image, face, (192, 192), template) for face in faces]
    classes = torch.full((len(faces),), spec.labels.index(expression)) if expression else None
    found = explain(network, normalise(torch.from_numpy(crops)), classes)
    # Calibrated as in `mftn predict`, whose probabilities are those for faces from anywhere.
    probabilities = (found.logits.fused / (spec.temperature * spec.general_temperature)).softmax(dim=1)
    shown = [f"{spec.labels[k]} {row[k]:.0%}" for k, row in zip(found.classes.tolist(), probabilities, strict=True)]
    rows = {name: list(maps.numpy()) for name, maps in found.maps.items()}
    rows |= {f"{name} attention": list(maps.numpy()) for name, maps in found.attention.items()}
    save_figure(explanation_grid(fine, shown, rows), file)
    return shown
