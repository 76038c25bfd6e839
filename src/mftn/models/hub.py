"""Networks on the Hugging Face Hub: `save_pretrained`, `push_to_hub`, `from_pretrained`."""

from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData, PyTorchModelHubMixin, hf_hub_download

from mftn.spec import ModelSpec

_WEIGHTS = "model.safetensors"

_CARD = """---
{{ card_data }}
---

# {{ architecture }}

A network for facial expression recognition, saved by the Python package mftn.

{{ input_text }}

```python
from mftn.models import MFTN

network = MFTN.from_pretrained("OWNER/NAME")
```

State here what it was trained on, how accurate it is on which data, and its licence. An expression is not a feeling;
training labels record what raters saw. Not for judging people.
"""


class HubMixin(PyTorchModelHubMixin):
    """Saves config.json (the constructor's arguments) and model.safetensors, which includes the network's description.

    If the network has a description (for instance from `load_model`), its `model.safetensors` is a checkpoint like
    those of `mftn train`, and `mftn export` accepts it.
    """

    spec: ModelSpec | None

    def _save_pretrained(self, save_directory: Path) -> None:
        from mftn.models.checkpoint import save_model

        save_model(self, save_directory / _WEIGHTS, self.spec)  # type: ignore[arg-type]

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:  # noqa: ARG002 (the hub's signature)
        """The README.md of a shared network: its YAML, its input and output where known, and how to load it."""
        spec = self.spec
        architecture = spec.architecture if spec else type(self).__name__
        known = "It has no description of its input and labels yet: add one before you share it."
        if spec:
            height, width = spec.size
            colour = "grey" if spec.channels == 1 else "colour"
            known = f"Input: an aligned face of {height}×{width} pixels, {colour}. Output: {', '.join(spec.labels)}."
        tags = ["facial-expression-recognition", architecture, "model_hub_mixin", "pytorch_model_hub_mixin"]
        data = ModelCardData(library_name="mftn", pipeline_tag="image-classification", tags=tags)
        return ModelCard.from_template(data, template_str=_CARD, architecture=architecture, input_text=known)

    @classmethod
    def _from_pretrained(  # type: ignore[no-untyped-def]
        cls, *, model_id, revision, cache_dir, force_download, local_files_only, token, **arguments
    ):
        from mftn.models.checkpoint import load_checkpoint, own_weights_only, read_spec

        arguments = own_weights_only(arguments, f"{model_id}: config.json")
        path = Path(model_id) / _WEIGHTS
        if not path.is_file():
            path = Path(
                hf_hub_download(
                    repo_id=model_id,
                    filename=_WEIGHTS,
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    local_files_only=local_files_only,
                    token=token,
                )
            )
        model: Any = cls(**arguments)
        load_checkpoint(model, path)
        model.spec = read_spec(path)
        return model.eval()
