"""A bill of materials of a model: what a record says of it, as SPDX 3.0.1 with the AI profile.

Reads the record; writes nothing. The same record gives the same bytes. What the record does not
know, such as the energy used, is left out and not guessed.
"""

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from mynah.errors import ConfigError
from mynah.record.entries import ModelEntry, RunEntry
from mynah.record.envelopes import read_payload
from mynah.record.record import Record
from mynah.record.register import Register
from mynah.record.site import describe, short_flop
from mynah.record.statements import AuditDone, CheckpointSaved, ParentModel, Statement, parse_time

if TYPE_CHECKING:
    from spdx_python_model import v3_0_1 as spdx

__all__ = ["model_bom"]

TERMS = "https://mynah.example/record/spdx"
"""Begin of every id in the document; a name, not an address."""
_LIMITS = (
    "The record shows that these numbers were never changed after they were written, and that they"
    " add up. It cannot show that the counts are true, nor that no other training took place."
)


def model_bom(record: Record, model: str) -> bytes:
    """The bill of materials of a model that a run of this record has made, as JSON-LD.

    Args:
        record: Of the workspace.
        model: Its name, which stands for the last model of that name; or its digest, or at least
            the first eight digits of it.

    Raises:
        ConfigError: No run has made it, or the digits fit more than one.
    """
    register = record.register()
    digest = _find_model(register, model)
    wanted = {digest, *_ancestors(register, digest)}
    about = _leaves_about(record, wanted)
    if not wanted <= about.keys():
        raise ConfigError(
            f"the leaf about {model[:64]} still waits in the queue", hint="run it again in a moment"
        )
    return _Document(record, register, about).encode(digest)


def _find_model(register: Register, model: str) -> str:
    named = [digest for digest, entry in register.models.items() if entry.name == model]
    if named:
        return named[-1]
    found = [digest for digest in register.models if len(model) >= 8 and digest.startswith(model)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(dict.fromkeys(entry.name for entry in register.models.values()))
    raise ConfigError(
        f"{model[:64]!r} is {'more than one model' if found else 'no model'} of this record",
        hint=f"give a name or a digest; it has {names[:300]}" if names else "no run saved one yet",
    )


def _ancestors(register: Register, digest: str) -> set[str]:
    """Digests of all models of this record that ``digest`` descends from."""
    found: set[str] = set()
    waiting = [digest]
    while waiting:
        entry = register.models.get(waiting.pop())
        for parent in register.runs[entry.run].declared.parents if entry else ():
            if parent.digest not in found:
                found.add(parent.digest)
                waiting.append(parent.digest)
    return found & register.models.keys()


@dataclass(frozen=True, slots=True, kw_only=True)
class _About:
    """Leaves about one model."""

    index: int
    saved: CheckpointSaved
    audits: list[tuple[int, AuditDone]]


def _leaves_about(record: Record, digests: set[str]) -> dict[str, _About]:
    found: dict[str, _About] = {}
    needles = [digest.encode() for digest in digests]
    for index, leaf in enumerate(record.log.leaves()):
        payload = base64.b64decode(orjson.loads(leaf)["payload"])
        if not any(needle in payload for needle in needles):
            continue  # reading every leaf of a long log in full takes minutes
        body = Statement.decode(read_payload(leaf)).body
        if isinstance(body, CheckpointSaved) and body.digest in digests:
            audits = found[body.digest].audits if body.digest in found else []
            found[body.digest] = _About(index=index, saved=body, audits=audits)
        elif isinstance(body, AuditDone) and body.digest in found:
            found[body.digest].audits.append((index, body))
    return found


class _Document:
    """The elements of one document while they are put together."""

    def __init__(self, record: Record, register: Register, about: dict[str, _About]) -> None:
        # A tenth of a second to import, and only who asks for a bill of materials needs it.
        from spdx_python_model import v3_0_1

        self.spdx = v3_0_1
        self.record = record
        self.register = register
        self.about = about
        self.head = record.log.head()
        self.place = f"{TERMS}/{hashlib.sha256(str(record.key).encode()).hexdigest()[:16]}"
        self.elements: dict[str, spdx.Element] = {}
        self.creation = v3_0_1.CreationInfo(specVersion="3.0.1")

    def encode(self, digest: str) -> bytes:
        """Build all elements around one model and write them down."""
        s = self.spdx
        party = s.Organization(
            spdxId=f"{self.place}#party", creationInfo=self.creation, name=self.record.identity.name
        )
        self.creation.created = _moment(self.about[digest].saved.time)
        self.creation.createdBy = [party]
        self._add(party)
        self.party = party
        root = self._own_model(digest)
        document = s.SpdxDocument(
            spdxId=f"{self.place}/{digest}#document",
            creationInfo=self.creation,
            name=f"Bill of materials of {self.about[digest].saved.name}",
            rootElement=[root],
            element=[self.elements[one] for one in sorted(self.elements)],
            # Not "ai" and "dataset", whose classes are used: they want a download location, and
            # the record knows none.
            profileConformance=[s.ProfileIdentifierType.core, s.ProfileIdentifierType.software],
        )
        objects = s.SHACLObjectSet([*self.elements.values(), document])
        data = s.JSONLDSerializer().serialize_data(objects, force_at_graph=True)
        data["@graph"].sort(key=lambda one: one.get("spdxId", one.get("@id", "")))
        return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"

    def _add(self, element: "spdx.Element") -> None:
        self.elements[str(element.spdxId)] = element

    def _own_model(self, digest: str) -> "spdx.Element":
        """A model of this record, its data and its parents."""
        s, about = self.spdx, self.about[digest]
        entry = self.register.models[digest]
        run = self.register.runs[entry.run]
        package = s.ai_AIPackage(
            spdxId=f"{self.place}/{digest}#model",
            creationInfo=self.creation,
            name=about.saved.name,
            software_packageVersion=f"{about.saved.run} step {about.saved.step}",
            software_primaryPurpose=s.software_SoftwarePurpose.model,
            verifiedUsing=[self._hash(digest, "OpenSSF Model Signing root digest")],
            suppliedBy=self.party,
            builtTime=_moment(about.saved.time),
            releaseTime=_moment(about.saved.time),
            ai_domain=["natural language"],
            ai_typeOfModel=["language model"],
            ai_hyperparameter=self._entries(_hyperparameters(run, about)),
            ai_informationAboutTraining=_training(run, entry),
            ai_limitation=_LIMITS,
            ai_metric=self._entries(
                (f"audit {one.suite}", f"{'passed' if one.is_passed else 'failed'}, leaf {index}")
                for index, one in about.audits
            ),
            externalRef=[self._leaf(about.index, describe(about.saved))],
        )
        self._add(package)
        self._relate(package, s.RelationshipType.trainedOn, [self._corpus(run)])
        parents = [self._parent(parent) for parent in run.declared.parents]
        if parents:
            self._relate(package, s.RelationshipType.descendantOf, parents)
        return package

    def _parent(self, parent: ParentModel) -> "spdx.Element":
        if parent.digest in self.about:
            known = self.elements.get(f"{self.place}/{parent.digest}#model")
            return known or self._own_model(parent.digest)
        flop = parent.flop or "an unknown number of"
        package = self.spdx.ai_AIPackage(
            spdxId=f"{self.place}/{parent.digest}#outside",
            creationInfo=self.creation,
            name=parent.name,
            software_primaryPurpose=self.spdx.software_SoftwarePurpose.model,
            verifiedUsing=[self._hash(parent.digest, "of its files, as the run declared it")],
            ai_informationAboutTraining=f"{flop} FLOP, lineage included; basis: {parent.basis}",
            comment="Not trained in this record; all of this is as it was declared.",
        )
        self._add(package)
        return package

    def _corpus(self, run: RunEntry) -> "spdx.Element":
        s, digest = self.spdx, run.declared.corpus
        package = s.dataset_DatasetPackage(
            spdxId=f"{self.place}/{digest}#corpus",
            creationInfo=self.creation,
            name=f"corpus {digest[:12]}",
            software_primaryPurpose=s.software_SoftwarePurpose.data,
            verifiedUsing=[self._hash(digest, "digest of the corpus: docs/spec/record.md")],
            originatedBy=[self.party],
            dataset_datasetType=[s.dataset_DatasetType.text],
            dataset_dataCollectionProcess="Posts of the network, as its own export holds them.",
        )
        self._add(package)
        return package

    def _relate(self, source: "spdx.Element", kind: str, targets: "Iterable[spdx.Element]") -> None:
        self._add(
            self.spdx.Relationship(
                spdxId=f"{source.spdxId}-{kind.rpartition('/')[2]}",
                creationInfo=self.creation,
                from_=source,
                relationshipType=kind,
                to=list(targets),
            )
        )

    def _hash(self, digest: str, comment: str) -> "spdx.Hash":
        sha256 = self.spdx.HashAlgorithm.sha256
        return self.spdx.Hash(algorithm=sha256, hashValue=digest, comment=comment)

    def _entries(self, pairs: Iterable[tuple[str, str]]) -> "list[spdx.DictionaryEntry]":
        return [self.spdx.DictionaryEntry(key=key, value=value) for key, value in pairs]

    def _leaf(self, index: int, words: str) -> "spdx.ExternalRef":
        root = base64.b64encode(self.head.root).decode()
        return self.spdx.ExternalRef(
            externalRefType=self.spdx.ExternalRefType.secureSoftwareAttestation,
            locator=[f"{self.record.key.name}#leaf-{index}"],
            contentType="application/vnd.in-toto+json",
            comment=(
                f"Leaf {index} of the record {self.record.key}, whose tree head of"
                f" {self.head.size} leaves has the root {root}. {words}"
            ),
        )


def _hyperparameters(run: RunEntry, about: _About) -> list[tuple[str, Any]]:
    at = run.declared
    return [
        ("objective", at.objective),
        ("recipe_sha256", at.recipe),
        ("step", str(about.saved.step)),
        ("tokens", str(run.tokens)),
        ("device", at.device),
        ("num_devices", str(at.num_devices)),
    ]


def _training(run: RunEntry, entry: ModelEntry) -> str:
    at = run.declared
    lineage = "an unknown number of" if entry.lineage_flop is None else str(entry.lineage_flop)
    parents = ", ".join(f"{parent.name} ({parent.digest[:12]})" for parent in at.parents)
    return (
        f"Run {at.run} counted {run.flop} FLOP in {run.device_s} device-seconds on"
        f" {run.tokens} tokens; it had declared {short_flop(at.planned_flop)} at most. With all it"
        f" descends from the model took {lineage} FLOP. It began"
        f" {f'from {parents}' if parents else 'from scratch'}."
    )


def _moment(time: str) -> datetime:
    return datetime.fromtimestamp(parse_time(time) // 1_000_000, UTC)
