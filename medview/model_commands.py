"""`medview models`: what is installed, and adding, trusting, exporting and removing models."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medview.core.errors import ModelError, ReadError
from medview.core.models import ModelCard
from medview.core.paths import Paths
from medview.core.plain import to_plain
from medview.inference.catalog import ANSWERERS, Catalog, load_card
from medview.reporting import describe
from medview.reporting.succession import verdict_text
from medview.services import bundle
from medview.services.offers import offers_in
from medview.services.shelf import Shelf
from medview.terminal import DONE, MODEL_FAILED, USAGE, print_json, tell

Action = Callable[[argparse.Namespace], int]
_WEB = ("http://", "https://")


def declare(commands: Any) -> None:
    """Add `models` and its actions to the sub-parsers of the command line."""
    models = commands.add_parser("models", help="the models that are here")
    actions = models.add_subparsers(dest="action", required=True)
    for name, text in _WORDS.items():
        action = actions.add_parser(name, help=text)
        action.add_argument("--json", action="store_true")
        if name not in ("list", "offers", "verify", "add"):
            action.add_argument("id")
    add = actions.choices["add"]
    add.add_argument(
        "source",
        metavar="PATH_OR_URL",
        help="a folder, a zip, a network, a URL, or the id of one that is offered",
    )
    add.add_argument("--sha256", default="", metavar="H", help="what it has to be; URLs need it")
    add.add_argument(
        "--card", type=Path, metavar="FILE.json", help="metadata of a network that brings none"
    )
    add.add_argument(
        "--replace", action="store_true", help="in the place of the model it was compared with"
    )
    actions.choices["export"].add_argument("--out", required=True, type=Path, metavar="DIR")
    trust = actions.choices["trust"]
    trust.add_argument("--reader", default="", metavar="NAME", help="who answers for it")
    trust.add_argument("--withdraw", action="store_true", help="trust it no more")


_WORDS = {
    "list": "all of them",
    "offers": "published models that can be fetched by their id",
    "show": "the card of one, installed or in a folder",
    "verify": "check the files of every model",
    "add": "add one from a folder, a zip, a network's file or a URL",
    "remove": "delete one that was added",
    "export": "write a copy of one to a folder; ours are MONAI bundles",
    "trust": "allow the program that a model brings to run",
}


def run(arguments: argparse.Namespace) -> int:
    """Do one action; the exit code."""
    return _ACTIONS[arguments.action](arguments)


def _catalog(arguments: argparse.Namespace) -> Catalog:
    catalog = bundle.catalog(_paths(arguments))
    for problem in catalog.problems:
        tell(f"{problem.folder.name}: {problem.reason}")
    return catalog


def _card(catalog: Catalog, model_id: str) -> ModelCard:
    """The card of a model, one that answers marks too; ModelError if there is no such model."""
    known = {card.id: card for card in catalog.every_card()}
    return known[model_id] if model_id in known else catalog.card(model_id)


def _paths(arguments: argparse.Namespace) -> Paths:
    return bundle.find_paths(arguments.profile)


def _list(arguments: argparse.Namespace) -> int:
    cards = _catalog(arguments).every_card()
    if arguments.json:
        print_json({"models": [to_plain(card) for card in cards]})
    else:
        for card in cards:
            state = "" if card.may_run else "  (not trusted yet)"
            sys.stdout.write(
                f"{card.id:24} {card.version:8} {card.task.value:14} {card.title}{state}\n"
            )
    return DONE


def _offers(arguments: argparse.Namespace) -> int:
    offers = offers_in(_paths(arguments).known_models)
    if arguments.json:
        print_json({"offers": [to_plain(offer) for offer in offers]})
    else:
        for offer in offers:
            sys.stdout.write(
                f"{offer.id}\n  {offer.title}, {offer.size}, {offer.licence}\n  {offer.url}\n"
                f"  sha256 {offer.sha256}\n  Needs {offer.needs}. {offer.note}\n"
            )
    return DONE


def _show(arguments: argparse.Namespace) -> int:
    folder = Path(arguments.id)
    known = _catalog(arguments)
    is_folder = folder.is_dir() and arguments.id not in {card.id for card in known.every_card()}
    engines = {**known.engines, **ANSWERERS}
    card = load_card(folder.resolve(), engines) if is_folder else _card(known, arguments.id)
    if arguments.json:
        print_json(to_plain(card))
    else:
        sys.stdout.write(describe.card_text(card))
    return DONE


def _verify(arguments: argparse.Namespace) -> int:
    catalog = _catalog(arguments)
    verdicts = []
    for card in catalog.cards():
        try:
            catalog.verify(card.id)
            verdicts.append({"id": card.id, "ok": True, "reason": ""})
        except ModelError as error:
            verdicts.append({"id": card.id, "ok": False, "reason": error.user_text})
    verdicts += [
        {"id": problem.folder.name, "ok": False, "reason": problem.reason}
        for problem in catalog.problems
    ]
    if arguments.json:
        print_json({"models": verdicts})
    else:
        for verdict in verdicts:
            state = "ok" if verdict["ok"] else f"refused: {verdict['reason']}"
            sys.stdout.write(f"{verdict['id']:24} {state}\n")
    return DONE if all(verdict["ok"] for verdict in verdicts) else MODEL_FAILED


def _add(arguments: argparse.Namespace) -> int:
    is_web = arguments.source.lower().startswith(_WEB)
    if is_web and not arguments.sha256:
        tell("A URL needs --sha256: what a server sends is believed by its hash alone")
        return USAGE
    offered = {offer.id for offer in offers_in(_paths(arguments).known_models)}
    if not is_web and arguments.source not in offered and not Path(arguments.source).exists():
        raise ReadError(f"There is no file or folder {arguments.source}")
    if arguments.card is not None and not arguments.card.is_file():
        raise ReadError(f"There is no file {arguments.card}")
    said, replaces = _Percent(), bool(arguments.replace)

    def add(shelf: Shelf) -> ModelCard:
        ready = shelf.prepare(
            arguments.source, sha256=arguments.sha256, card=arguments.card, progress=said
        )
        if ready.succession is not None:
            tell(verdict_text(ready.succession))
        return shelf.take(ready, replace=replaces)

    card: ModelCard = _with_shelf(arguments, add)
    if card.code and not card.trusted:
        tell(
            f"{card.title} brings a program ({card.code}). It runs only after"
            f" `medview models trust {card.id}`."
        )
    return _say_change(arguments, "replaced" if replaces else "added", card)


def _remove(arguments: argparse.Namespace) -> int:
    card = _card(_catalog(arguments), arguments.id)
    _with_shelf(arguments, lambda shelf: shelf.remove(arguments.id))
    return _say_change(arguments, "removed", card)


def _trust(arguments: argparse.Namespace) -> int:
    with bundle.running(_paths(arguments), keeps_work=False) as services:
        by = arguments.reader.strip() or services.settings.text("reader.name").strip()
        if not by:
            tell("Trust needs a name: --reader NAME, or the one in the settings")
            return USAGE
        act = services.shelf.distrust if arguments.withdraw else services.shelf.trust
        card = act(arguments.id, by)
    return _say_change(arguments, "distrusted" if arguments.withdraw else "trusted", card)


def _export(arguments: argparse.Namespace) -> int:
    out = arguments.out.absolute()
    files = _with_shelf(arguments, lambda shelf: shelf.export(arguments.id, out))
    card = _card(bundle.catalog(_paths(arguments)), arguments.id)
    if arguments.json:
        print_json({**_change("exported", card), "folder": str(out), "files": list(files)})
    tell(f"{card.title} is in {out}")
    return DONE


def _with_shelf(arguments: argparse.Namespace, act: Callable[[Shelf], Any]) -> Any:
    """Act on the shelf of the profile; what is done goes into its audit trail."""
    with bundle.running(_paths(arguments), keeps_work=False) as services:
        return act(services.shelf)


def _change(what: str, card: ModelCard) -> dict[str, Any]:
    return {
        "action": what,
        "id": card.id,
        "version": card.version,
        "title": card.title,
        "format": card.format,
        "folder_sha256": card.folder_sha256,
        "code": card.code,
        "trusted": card.trusted,
    }


def _say_change(arguments: argparse.Namespace, what: str, card: ModelCard) -> int:
    if arguments.json:
        print_json(_change(what, card))
    tell(f"{card.title} ({card.id}) is {what}")
    return DONE


class _Percent:
    """Says how far a download is, each tenth once."""

    def __init__(self) -> None:
        self._last = -1

    def __call__(self, now: int, whole: int) -> None:
        tenth = 10 * now // whole if whole else now >> 24
        if tenth != self._last:
            self._last = tenth
            tell(f"{10 * tenth} %" if whole else f"{now >> 20} MiB")


_ACTIONS: dict[str, Action] = {
    "list": _list,
    "offers": _offers,
    "show": _show,
    "verify": _verify,
    "add": _add,
    "remove": _remove,
    "export": _export,
    "trust": _trust,
}
