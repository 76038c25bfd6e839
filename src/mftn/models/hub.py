"""Networks on the Hugging Face hub: `save_pretrained`, `push_to_hub`, `from_pretrained`."""

from pathlib import Path
from typing import Any

from huggingface_hub import PyTorchModelHubMixin, hf_hub_download

from mftn.spec import ModelSpec

_WEIGHTS = "model.safetensors"


class HubMixin(PyTorchModelHubMixin):
    """Saves config.json (the constructor's arguments) and model.safetensors, which keeps the network's description.

    A `model.safetensors` written here is a checkpoint like those of `mftn train` where the network has a description
    (as `load_model` gives it): `mftn export` takes it.
    """

    spec: ModelSpec | None

    def _save_pretrained(self, save_directory: Path) -> None:
        from mftn.models.checkpoint import save_model

        save_model(self, save_directory / _WEIGHTS, self.spec)  # type: ignore[arg-type]

    @classmethod
    def _from_pretrained(  # type: ignore[no-untyped-def]
        cls, *, model_id, revision, cache_dir, force_download, local_files_only, token, **arguments
    ):
        from mftn.models.checkpoint import load_checkpoint, read_spec

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
