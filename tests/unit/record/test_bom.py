"""A model's bill of materials is SPDX 3 that the library reads, and says what the record says."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from spdx_python_model import v3_0_1 as spdx
from tests.fakes.record_history import CORPUS, MODEL, fake_digest, run_declared, write_history

from mynah.errors import ConfigError
from mynah.record.bom import model_bom
from mynah.record.identity import Identity
from mynah.record.record import Record
from mynah.record.statements import CheckpointSaved, ParentModel, Progress

GRANDCHILD = fake_digest("grandchild")


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """A model from outside, and one made of it; the tests only read."""
    folder = tmp_path_factory.mktemp("bom")
    identity = Identity.open(folder / "keys").rename("heron.example")
    record = Record.open(folder / "birds", identity=identity)
    write_history(record)
    return record


def add_merge(record: Record) -> None:
    """A model of two parents, one of which nobody has counted."""
    ours = ParentModel(name="corvid", digest=MODEL, flop=str(16 * 10**20), basis="record")
    theirs = ParentModel(name="wild", digest=fake_digest("wild"), flop="", basis="unknown")
    record.write(run_declared("merge", parents=(ours, theirs)))
    final = {"run": "merge", "recipe": fake_digest("merge"), "is_final": True}
    record.write(Progress(step=0, flop="0", device_s="1.000", tokens=0, **final))  # pyright: ignore
    record.write(
        CheckpointSaved(
            run="merge",
            step=0,
            name="corvid-wild",
            digest=GRANDCHILD,
            num_files=1,
            num_bytes=7,
            lineage_flop="",
        )
    )


def load(document: bytes) -> spdx.SHACLObjectSet:
    """Read with the library, which checks types, patterns and what must be there."""
    objects = spdx.SHACLObjectSet()
    spdx.JSONLDDeserializer().read(io.BytesIO(document), objects)
    return objects


def of_type(objects: spdx.SHACLObjectSet, kind: str) -> list[Any]:
    """Objects of one class."""
    return list(objects.foreach_type(kind, match_subclass=False))


def test_the_library_reads_it_back_whole(record: Record) -> None:
    """Every reference leads to an element of the document."""
    document = model_bom(record, "corvid")
    objects = load(document)
    assert not objects.missing_ids
    [root] = of_type(objects, "SpdxDocument")
    assert [one.name for one in root.rootElement] == ["corvid"]
    names = {one.name for one in of_type(objects, "ai_AIPackage")}
    assert names == {"corvid", "outside-base"}
    written = io.BytesIO()
    spdx.JSONLDSerializer().write(objects, written, force_at_graph=True)
    ours, theirs = json.loads(document), json.loads(written.getvalue())
    key = lambda one: one.get("spdxId", one.get("@id"))  # noqa: E731
    assert sorted(ours["@graph"], key=key) == sorted(theirs["@graph"], key=key)


def test_it_says_what_the_record_says(record: Record) -> None:
    """Digest, compute, corpus, audit, the leaf and the tree head."""
    objects = load(model_bom(record, MODEL))
    [model] = [one for one in of_type(objects, "ai_AIPackage") if one.name == "corvid"]
    assert model.verifiedUsing[0].hashValue == MODEL
    assert "1200000000000000000000 FLOP" in model.ai_informationAboutTraining
    assert "took 1600000000000000000000 FLOP" in model.ai_informationAboutTraining
    assert [(one.key, one.value) for one in model.ai_metric] == [
        ("audit misuse/1", "passed, leaf 4")
    ]
    assert model.ai_energyConsumption is None
    [reference] = model.externalRef
    assert list(reference.locator) == [f"{record.key.name}#leaf-3"]
    assert record.log.head().text.split("\n")[2] in reference.comment
    [corpus] = of_type(objects, "dataset_DatasetPackage")
    assert corpus.verifiedUsing[0].hashValue == CORPUS
    kinds = {
        (one.relationshipType.rpartition("/")[2], one.from_.name, one.to[0].name)
        for one in of_type(objects, "Relationship")
    }
    assert kinds == {
        ("trainedOn", "corvid", corpus.name),
        ("descendantOf", "corvid", "outside-base"),
    }


def test_lineage_goes_all_the_way_down(record: Record, tmp_path: Path) -> None:
    """A merge names both parents, and theirs; an unknown number is said to be unknown."""
    other = Record.open(tmp_path / "calm", identity=record.identity)
    other.write(run_declared("first"))
    final = {"run": "first", "recipe": fake_digest("first"), "is_final": True}
    flop = str(12 * 10**20)
    other.write(Progress(step=9, flop=flop, device_s="9.000", tokens=9, **final))  # pyright: ignore
    other.write(
        CheckpointSaved(
            run="first",
            step=9,
            name="corvid",
            digest=MODEL,
            num_files=1,
            num_bytes=7,
            lineage_flop=str(16 * 10**20),
        )
    )
    add_merge(other)
    objects = load(model_bom(other, "corvid-wild"))
    models = {one.name: one for one in of_type(objects, "ai_AIPackage")}
    assert models.keys() == {"corvid-wild", "corvid", "wild", "outside-base"}
    assert "an unknown number of FLOP" in models["corvid-wild"].ai_informationAboutTraining
    assert "an unknown number of FLOP" in models["wild"].ai_informationAboutTraining
    descents = {
        (one.from_.name, to.name)
        for one in of_type(objects, "Relationship")
        for to in one.to
        if one.relationshipType.endswith("descendantOf")
    }
    assert descents == {
        ("corvid-wild", "corvid"),
        ("corvid-wild", "wild"),
        ("corvid", "outside-base"),
    }


def test_equal_records_give_equal_bytes(record: Record) -> None:
    """By name, digest or the begin of the digest."""
    document = model_bom(record, "corvid")
    assert document == model_bom(record, MODEL) == model_bom(record, MODEL[:8])
    again = Record.open(record.folder.parent, identity=record.identity)
    assert model_bom(again, "corvid") == document


@pytest.mark.parametrize("model", ["raven", MODEL[:7], "", fake_digest("no such")])
def test_a_model_that_no_run_made_is_refused(record: Record, model: str) -> None:
    """The hint names those that there are."""
    with pytest.raises(ConfigError, match="no model of this record") as caught:
        model_bom(record, model)
    assert "corvid" in caught.value.hint
