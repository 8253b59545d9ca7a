"""``python -m prefjax.study COMMAND FOLDER``: a study with people, from first file to report.

init FOLDER         writes a complete example, which can be served at once
serve FOLDER        serves it on this machine
simulate FOLDER     simulated people take part in a copy, by HTTP, with all faults of browsers
status FOLDER       who has come how far, and whether it is balanced
export FOLDER OUT   choices as a data set of the project, and everything else beside it
report FOLDER OUT   the export, and report.md with figures
anonymize FOLDER    drops recruiting ids and links; cannot be undone
withdraw FOLDER N   deletes everything of participant N
"""

import argparse
import sys
import time
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and does what it says.

    Args:
        argv: Arguments; those of the process by default.
    """
    parser = argparse.ArgumentParser(
        prog="python -m prefjax.study",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    actions = {}
    for name, action, add in (
        ("init", _init, _add_init),
        ("serve", _serve, _add_serve),
        ("simulate", _simulate, _add_simulate),
        ("status", _status, None),
        ("export", _export, _add_out),
        ("report", _report, _add_out),
        ("anonymize", _anonymize, _add_anonymize),
        ("withdraw", _withdraw, _add_withdraw),
    ):
        command = commands.add_parser(name)
        command.add_argument("folder", type=Path, help="folder of the study")
        command.add_argument(
            "--data", type=Path, default=None, help="folder of the database; FOLDER/data by default"
        )
        if add is not None:
            add(command)
        actions[name] = action
    arguments = parser.parse_args(argv)
    try:
        actions[arguments.command](arguments)
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"{parser.prog} {arguments.command}: {error}")


def _add_init(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", type=int, default=0)


def _init(arguments: argparse.Namespace) -> None:
    from prefjax.parallel import use_compilation_cache
    from prefjax.study.example import make_example

    use_compilation_cache()
    make_example(arguments.folder, seed=arguments.seed)
    print(
        f"{arguments.folder}: an example, simulated prompts and answers. Edit study.toml, then\n"
        f"    python -m prefjax.study serve {arguments.folder}"
    )


def _add_serve(command: argparse.ArgumentParser) -> None:
    command.add_argument("--host", default="127.0.0.1")
    command.add_argument("--port", type=int, default=8000, help="0 for any that is free")
    command.add_argument(
        "--behind-proxy",
        action="store_true",
        help="a proxy on this machine speaks HTTPS with the outside (see docs/study.md)",
    )


def _serve(arguments: argparse.Namespace) -> None:
    from prefjax.study.web import serve

    serve(
        arguments.folder,
        host=arguments.host,
        port=arguments.port,
        data=arguments.data,
        is_proxied=arguments.behind_proxy,
    )


def _add_simulate(command: argparse.ArgumentParser) -> None:
    command.add_argument("out", type=Path, nargs="?", help="FOLDER/simulated by default")
    command.add_argument("--people", type=int, default=100)
    command.add_argument("--at-once", type=int, default=10)
    command.add_argument("--kills", type=int, default=20, help="times the server is killed")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument(
        "--think",
        type=float,
        default=0.0,
        help="seconds that a person looks at a trial, on average",
    )
    command.add_argument("--no-faults", action="store_true", help="people who do all as foreseen")


def _simulate(arguments: argparse.Namespace) -> None:
    from prefjax.study.simulation import SimulateConfig, simulate

    config = SimulateConfig(
        num_people=arguments.people,
        num_at_once=arguments.at_once,
        num_kills=arguments.kills,
        seed=arguments.seed,
        think=arguments.think,
        faults=not arguments.no_faults,
    )
    out = arguments.folder / "simulated" if arguments.out is None else arguments.out
    result = simulate(arguments.folder, out, config=config)
    print("\n".join(result.lines()))
    print(out)
    if result.problems:
        sys.exit(1)


def _status(arguments: argparse.Namespace) -> None:
    from prefjax.study.materials import read_materials
    from prefjax.study.progress import measure_progress

    print("\n".join(measure_progress(_store(arguments), read_materials(arguments.folder)).lines()))


def _add_out(command: argparse.ArgumentParser) -> None:
    command.add_argument("out", type=Path, help="folder that is written")
    command.add_argument("--overwrite", action="store_true", help="replace an earlier one")


def _export(arguments: argparse.Namespace) -> None:
    from prefjax.study._export import export
    from prefjax.study.materials import read_materials

    materials = read_materials(arguments.folder)
    export(materials, _store(arguments), arguments.out, overwrite=arguments.overwrite)
    print(arguments.out)


def _report(arguments: argparse.Namespace) -> None:
    from prefjax.study._export import export, read_export
    from prefjax.study._replay import replay
    from prefjax.study.materials import read_materials
    from prefjax.study.report import write_report

    materials, store = read_materials(arguments.folder), _store(arguments)
    export(materials, store, arguments.out, overwrite=arguments.overwrite)
    print(write_report(read_export(arguments.out), arguments.out, replay(materials, store)))


def _add_anonymize(command: argparse.ArgumentParser) -> None:
    command.add_argument("--yes", action="store_true", help="really; it cannot be undone")


def _anonymize(arguments: argparse.Namespace) -> None:
    from prefjax.study.removal import anonymize

    if not arguments.yes:
        raise ValueError(
            "drops recruiting ids, their hashes and every participant's link, so that nobody can "
            "go on or withdraw. Stop the server, then pass --yes"
        )
    with _alone(arguments):
        print(f"dropped the recruiting ids of {anonymize(_store(arguments))} people")


def _add_withdraw(command: argparse.ArgumentParser) -> None:
    command.add_argument("participant", type=int, help="number, as in the export")


def _withdraw(arguments: argparse.Namespace) -> None:
    from prefjax.study.removal import withdraw

    try:
        withdraw(_store(arguments), arguments.participant, time.time())
    except KeyError as error:
        raise ValueError(f"there is no participant {arguments.participant}") from error
    print(f"deleted everything of participant {arguments.participant}")


def _data(arguments: argparse.Namespace) -> Path:
    from prefjax.study.engine import DATA

    return arguments.folder / DATA if arguments.data is None else arguments.data


def _store(arguments: argparse.Namespace):
    from prefjax.study.store import FILE, Store

    return Store(_data(arguments) / FILE)


def _alone(arguments: argparse.Namespace):
    from prefjax.io import FolderLock

    return FolderLock(_data(arguments))


if __name__ == "__main__":
    main()
