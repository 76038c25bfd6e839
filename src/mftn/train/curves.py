"""Draws a run's log as a figure."""

from pathlib import Path

from mftn.figures import new_figure, save_figure
from mftn.train.run_folder import Row


def draw_curves(rows: list[Row], path: Path) -> None:
    """Draw losses, accuracies and the learning rate over the epochs, as a PNG."""
    epochs = [row["epoch"] for row in rows]
    figure = new_figure(10.0, 3.2)
    losses, accuracies, rates = figure.subplots(1, 3)
    heads = {"train_loss": "joint", "train_loss_backbone": "backbone", "train_loss_mstn": "MsTN"}
    for name, label in heads.items():
        values = [row[name] for row in rows]
        if any(values):
            losses.plot(epochs, values, label=label)
    losses.set(title="Training loss", xlabel="epoch", ylim=(0, None))
    names = {
        "train_accuracy": "training, augmented",
        "valid_accuracy": "validation",
        "valid_macro_recall": "validation, macro recall",
    }
    for name, label in names.items():
        accuracies.plot(epochs, [100 * row[name] for row in rows], label=label)
    of_last_size = [row for row in rows if row["size"] == rows[-1]["size"]]  # best.safetensors is one of these
    best = max(of_last_size, key=lambda row: row["valid_accuracy"])
    accuracies.plot(best["epoch"], 100 * best["valid_accuracy"], "o", color="black", label="best", zorder=3)
    accuracies.set(title="Accuracy (%)", xlabel="epoch")
    rates.plot(epochs, [row["lr"] for row in rows], color="black")
    rates.set(title="Learning rate", xlabel="epoch", ylim=(0, None))
    for axes in (losses, accuracies, rates):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    for axes in (losses, accuracies):
        axes.legend(fontsize="small", frameon=False)
    save_figure(figure, path)
