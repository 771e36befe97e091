"""The arms of an experiment beside each other: who is compared with whom, and over what."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sublax.report import wording

MAIN = "main experiment"
_FEWEST = 3  # points that make a curve


@dataclass(frozen=True)
class Point:
    """A value of the number that varies, and what was found there (`value`, `low`, `high`)."""

    at: float
    mean: Mapping[str, float]
    lift: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Curve:
    """Arms that differ from each other in one number alone.

    Attributes:
      key: of the config, whose value differs.
      others: what else they set, as `key=value`; the same in all of them.
      points: by rising value.
    """

    key: str
    others: tuple[str, ...]
    points: tuple[Point, ...]


def rows_of(transfer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The main experiment and then every arm, as transfer.json has an arm."""
    main: dict[str, Any] = {"name": MAIN, "overrides": [], "difference": None}
    main |= {"unit": wording.unit(transfer)}
    return [{**main, **{key: transfer[key] for key in ("lift", "mean_lift")}}, *transfer["arms"]]


def alike(transfer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those of `rows_of` whose lifts have the main experiment's unit: one axis can show them."""
    return [row for row in rows_of(transfer) if row.get("unit", "nats") == wording.unit(transfer)]


def find_curves(transfer: Mapping[str, Any], config: Mapping[str, Any]) -> list[Curve]:
    """All sets of three or more arms that differ in one number alone.

    The main experiment counts as one.

    Args:
      transfer: with `arms`.
      config: the main experiment's, plain; empty where it is not known.
    """
    rows = alike(transfer)
    settings = [_settings(row["overrides"]) for row in rows]
    found = []
    for key in dict.fromkeys(key for own in settings for key in own):
        groups: dict[tuple[str, ...], dict[float, Point]] = {}
        for row, own in zip(rows, settings, strict=True):
            # What an arm does not set it has from the main experiment.
            value = _number(own[key] if key in own else _look_up(config, key))
            if value is not None:
                others = tuple(f"{name}={own[name]}" for name in sorted(own) if name != key)
                point = Point(value, row["mean_lift"], row["lift"])
                groups.setdefault(others, {}).setdefault(value, point)
        found += [
            Curve(key, others, tuple(by_value[at] for at in sorted(by_value)))
            for others, by_value in groups.items()
            if len(by_value) >= _FEWEST
        ]
    return found


def _settings(overrides: Sequence[str]) -> dict[str, str]:
    return {key: value for key, _, value in (text.partition("=") for text in overrides)}


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _look_up(config: Mapping[str, Any], key: str) -> Any:
    found: Any = config
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def curve_labels(others: Sequence[tuple[str, ...]]) -> list[str]:
    """What tells each curve from the others of its panel."""
    common = set.intersection(*map(set, others))
    own = [[_short(one) for one in of_curve if one not in common] for of_curve in others]
    return [", ".join(words) or MAIN for words in own]


def _short(override: str) -> str:
    key, _, value = override.partition("=")
    name = key.rsplit(".", 1)[-1]
    return value if name in ("name", "kind", "method") else f"{name.replace('_', ' ')} {value}"


def key_words(key: str) -> str:
    """A config's key as an axis says it: `student learning rate`."""
    group, name = key.partition(".")[0], key.rpartition(".")[2].replace("_", " ")
    return f"{group} {name}" if "." in key else name
