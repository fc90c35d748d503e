"""The commands beside DVC's own: `python -m stages --help` lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from stages.base import failures
from stages.base.failures import BadParams

if TYPE_CHECKING:
    from stages.params.schema import Params

# Each command imports its modules when it runs: DVC, MLflow and Ultralytics take seconds to import.


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.pass_context
def cli(context: click.Context) -> None:
    """Commands beside DVC's own. Run them in the repository."""
    if context.invoked_subcommand is None:
        print(context.get_help())


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
    from stages.params.preset import presets, write_preset

    if name is None:
        print("\n".join(f"{preset}: {purpose}" for preset, purpose in presets().items()))
    else:
        write_preset(name, values, _check)


@cli.command()
@click.argument("sweeps", nargs=-1, metavar="KEY=VALUE,VALUE...")
@click.option("--now", is_flag=True, help="Train the points with the workers of a study, without DVC's queue.")
def grid(sweeps: tuple[str, ...], now: bool) -> None:
    """Check a grid and queue its points, with names that state the varied values.

    \b
    python -m stages grid epochs=3,5 imgsz=128,160
    dvc queue start -j 2

    \b
    python -m stages grid epochs=3,5 imgsz=128,160 --now
    """
    if now:
        from stages.search.grid import train_grid

        train_grid(sweeps, _check)
    else:
        from stages.experiments.grid import queue_grid

        queue_grid(sweeps, _check)


@cli.command()
def compare() -> None:
    """Show every run in one table, the best first."""
    from stages.experiments.show import show

    show()


@cli.command()
def sync() -> None:
    """Copy the runs that MLflow lacks to MLflow."""
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
    """Fetch data, models, experiments and runs of the team."""
    from stages.experiments.share import pull as pull_all

    pull_all(remote)


@cli.command()
@click.option("--setup", is_flag=True, help="Write .env, and from it the address and keys of DVC's remote.")
def services(setup: bool) -> None:
    """Check whether MLflow, the database of studies and DVC's remote can be used.

    \b
    python -m stages services --setup
    python -m stages services
    """
    if setup:
        from stages.services.setup import set_up

        set_up()
    else:
        from stages.services.check import check

        check()


@cli.command()
@click.argument("action", required=False, type=click.Choice(["undo"]))
def registry(action: str | None) -> None:
    """Show which model staging holds. `undo` moves staging back to the version before."""
    from stages.tracking.registry import show_staging

    show_staging(move_back=action == "undo")


def _check(params: Params, name: str) -> None:
    """Check the parameters that the schema of params.yaml does not check: the data source and Ultralytics' arguments.

    Raises:
        BadParams: A parameter is wrong. The message begins with `name`.
    """
    from stages.data.sources import check_source
    from stages.detector.arguments import check_arguments

    check_source(params, name)
    check_arguments(params, name)


def main() -> None:
    """Run the command line, and turn its errors into this project's own."""
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
