"""The commands beside DVC's own: `python -m stages --help` lists them."""

from __future__ import annotations

import click

from stages.base import failures
from stages.base.failures import BadParams

# Each command imports what it needs when it runs: DVC, MLflow and Ultralytics take seconds to import.


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Commands beside DVC's own. Run them in the repository."""


@cli.command()
@click.argument("name", required=False)
@click.argument("values", nargs=-1, metavar="[KEY=VALUE]...")
def preset(name: str | None, values: tuple[str, ...]) -> None:
    """Write a preset into params.yaml, or list the presets.

    \b
    python -m stages preset
    python -m stages preset tiny_coco
    python -m stages preset finetune data.path=photos
    """
    from stages.detector.arguments import check_arguments
    from stages.params.preset import presets, write_preset

    if name is None:
        print("\n".join(f"{preset}: {purpose}" for preset, purpose in presets().items()))
    else:
        write_preset(name, values, check_arguments)


@cli.command()
@click.argument("sweeps", nargs=-1, metavar="KEY=VALUE,VALUE...")
def grid(sweeps: tuple[str, ...]) -> None:
    """Check a grid and queue its points under names that say what they vary.

    \b
    python -m stages grid epochs=3,5 imgsz=128,160
    dvc queue start -j 2
    """
    from stages.detector.arguments import check_arguments
    from stages.experiments.grid import queue_grid

    queue_grid(sweeps, check_arguments)


@cli.command()
def compare() -> None:
    """Show every run in one table, the best first."""
    from stages.experiments.show import show

    show()


@cli.command()
def sync() -> None:
    """Mirror to MLflow the runs that it does not have."""
    from stages.tracking.sync import sync_all

    sync_all()


@cli.command()
@click.argument("remote", default="origin", metavar="[GIT_REMOTE]")
def push(remote: str) -> None:
    """Share data, models, experiments and runs with the team."""
    from stages.experiments.share import push as push_all

    push_all(remote)


@cli.command()
@click.argument("remote", default="origin", metavar="[GIT_REMOTE]")
def pull(remote: str) -> None:
    """Take what the team has shared."""
    from stages.experiments.share import pull as pull_all

    pull_all(remote)


@cli.command()
def services() -> None:
    """Say whether MLflow, the database of studies and DVC's remote can be used."""
    from stages.services.check import check

    check()


@cli.command()
@click.argument("action", required=False, type=click.Choice(["undo"]))
def registry(action: str | None) -> None:
    """Show which model staging holds. `undo` moves staging back to the version before."""
    from stages.tracking.registry import show_staging

    show_staging(move_back=action == "undo")


def main() -> None:
    try:
        cli(prog_name="python -m stages", standalone_mode=False)
    except click.Abort as error:
        raise KeyboardInterrupt from error
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "python -m stages"
        raise BadParams(f"{error.format_message()} See `{command} --help`") from error


if __name__ == "__main__":
    failures.run(main)
