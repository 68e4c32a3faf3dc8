"""Whether each asset is what the declarations and the raw files ask for now, and if not, why."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lm_pipeline.artifacts import Artifact, Stage, Store
from lm_pipeline.errors import LmPipelineError, UnavailableError
from lm_pipeline.graph import Graph, Node, topological, undeclared
from lm_pipeline.home import Home

_FILES = "outside.files"
_OTHER_ADDRESS = "made by an earlier version of lm_pipeline"
_ABSENT = object()  # a key that is not there differs from one whose value is None


@dataclass(frozen=True)
class State:
    """Where a node stands.

    Attributes:
        status: `current`, `stale` (materialized, but declarations or inputs have moved on), `missing` or `failed`.
        reason: why it is not current; empty when it is.
        saved_steps: steps that a training of just what is asked for now has saved and that building it goes on from;
            0 where none of it is whole, and where an input is not current: then it is not known what is built from.
        in_training: whether a process is at that very training now.
    """

    node: Node
    status: str
    reason: str
    artifact: Artifact | None
    saved_steps: int = 0
    in_training: bool = False


def status(graph: Graph, home: Home, outside: bool = True, assets: Collection[str] | None = None) -> dict[str, State]:
    """The state of every node, inputs before those made from them.

    Args:
        assets: those to look at, together with all that they are made from; None for all. The world outside is asked
            about no others: a server that does not answer must not hold up what has nothing to do with it.
        outside: whether raw files are compared with what was materialized (hashes new and changed ones).
    """
    store = Store(home.artifacts)
    states: dict[str, State] = {}
    for asset in topological(graph, assets):
        state = _state(graph[asset], graph, states, store, home if outside else None)
        states[asset] = state if state.status == "current" else _with_training(state, states, store)
    return states


def _with_training(state: State, states: Mapping[str, State], store: Store) -> State:
    """The same, with what there is of a training at the address that its next build has."""
    node = state.node
    if node.count_saved_steps is None:
        return state
    inputs = {role: states[asset] for role, asset in node.inputs.items() if asset in states}
    digests = {role: one.artifact.digest for role, one in inputs.items() if one.artifact and one.status == "current"}
    if digests.keys() != node.inputs.keys():
        return state
    address = node.stage.name, node.stage.key(digests, node.address_spec({}))
    saved = node.count_saved_steps(store.unfinished(*address))
    return replace(state, saved_steps=saved, in_training=store.is_locked(*address))


def _state(node: Node, graph: Graph, states: Mapping[str, State], store: Store, home: Home | None) -> State:
    artifact = store.ref(node.asset)
    failure = store.failure(node.asset)
    if failure is not None:
        return State(node, "failed", failure, artifact)
    if absent := [asset for asset in node.inputs.values() if asset not in graph]:
        return State(node, "stale" if artifact else "missing", undeclared(node, absent[0], graph), artifact)
    if artifact is None:
        collected = store.ref_address(node.asset) is not None
        return State(node, "missing", "its artifact was deleted" if collected else "never materialized", None)
    reason = _why_stale(node, artifact, states, store, home)
    return State(node, "stale" if reason else "current", reason, artifact)


def _why_stale(node: Node, artifact: Artifact, states: Mapping[str, State], store: Store, home: Home | None) -> str:
    """Why the artifact is not what is asked for now; empty if it is."""
    upstream = {role: states[asset] for role, asset in node.inputs.items()}
    behind = [
        state.node.asset for role, state in upstream.items() if state.status != "current" and role not in node.optional
    ]
    if behind:
        return f"made from what is not current: {', '.join(behind)}"
    now = {role: state.artifact.digest for role, state in upstream.items() if state.artifact}
    then = {role: entry["digest"] for role, entry in artifact.inputs.items()}
    if changed := sorted(role for role in now.keys() | then.keys() if now.get(role) != then.get(role)):
        return f"changed inputs: {', '.join(changed)}"
    if artifact.manifest["stage_version"] != node.stage.version:
        return "made by an earlier version of the stage"
    world = artifact.manifest["spec"].get("outside", {})
    if node.outside and home:
        try:
            world = node.outside(home)
        except UnavailableError:
            pass  # offline: what was fetched is the latest that is known
        except LmPipelineError as error:
            return str(error)
    spec = node.address_spec(world)
    differences = changed_keys(artifact.manifest["spec"], spec)
    if _FILES in differences:
        listed = [found["outside"].get("files") for found in (artifact.manifest["spec"], spec)]
        if all(isinstance(files, list) for files in listed):
            differences = [changed_files(*listed) if key == _FILES else key for key in differences]
    if differences:
        return f"changed: {', '.join(differences)}"
    if node.stage.parts and node.stage.key(then, spec) != artifact.key:
        raised = _raised(node.stage, artifact, store)
        return f"made of parts by an earlier version of {', '.join(raised)}" if raised else _OTHER_ADDRESS
    return ""


def _raised(stage: Stage, artifact: Artifact, store: Store) -> list[str]:
    """The stages of its parts whose versions are other ones now; none where it has no part that could tell."""
    one_of_each = {entry["stage"]: entry["key"] for entry in artifact.parts}
    found = [part for name, key in one_of_each.items() if (part := store.find(name, key))]
    then = {part.stage: part.manifest["stage_version"] for part in found}
    return [part.name for part in stage.parts if then.get(part.name, part.version) != part.version]


def changed_files(old: Sequence[Sequence[Any]], new: Sequence[Sequence[Any]]) -> str:
    """How two lists of raw files differ; a row is a file's name and what tells its content.

    >>> changed_files([["a.txt", 1], ["b.txt", 2]], [["b.txt", 3], ["c.txt", 1], ["d.txt", 1]])
    'raw files (2 new: c.txt, ...; 1 written anew: b.txt; 1 gone: a.txt)'
    """
    before, after = ({row[0]: list(row[1:]) for row in rows} for rows in (old, new))
    kinds = {
        "new": sorted(after.keys() - before.keys()),
        "written anew": sorted(name for name in before.keys() & after.keys() if before[name] != after[name]),
        "gone": sorted(before.keys() - after.keys()),
    }
    told = [f"{len(n)} {kind}: {n[0]}{', ...' if len(n) > 1 else ''}" for kind, n in kinds.items() if n]
    return f"raw files ({'; '.join(told)})"


def changed_keys(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Dotted names of what differs between two JSON values.

    >>> changed_keys({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 0})
    ['a.c', 'd']
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return [
            name
            for key in sorted(old.keys() | new.keys())
            for name in changed_keys(old.get(key, _ABSENT), new.get(key, _ABSENT), f"{prefix}.{key}".lstrip("."))
        ]
    return [] if old == new else [prefix]
