"""A Bluesky repository in memory: blocks, the tree above them, and the CAR file they make."""

from hashlib import sha256

import libipld

__all__ = ["DID", "car", "commit_car", "event", "post_record", "repository", "varint"]

DID = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
REV = "3lqcnvhqk6222"


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def block(value):
    """Return CID and bytes of a value."""
    data = libipld.encode_dag_cbor(value)
    return b"\x01\x71\x12\x20" + sha256(data).digest(), data


def section(data):
    return varint(len(data)) + data


def car(root, blocks):
    """Return a CAR file; a root of ``None`` is left out."""
    header = libipld.encode_dag_cbor({"roots": [root] if root else [], "version": 1})
    return section(header) + b"".join(section(cid + data) for cid, data in blocks)


def tree(paths, blocks, *, fanout=3):
    """Return the CID of a tree over sorted ``(path, CID)``, two layers deep; add its nodes."""
    layers, right = [], []
    for start in range(0, len(paths), fanout + 1):
        right.append(paths[start : start + fanout])
        layers.extend(paths[start + fanout : start + fanout + 1])
    subtrees = []
    for leaf in right:
        node = block({"l": None, "e": _entries(leaf, [None] * len(leaf))})
        blocks.append(node)
        subtrees.append(node[0])
    top = block({"l": subtrees[0] if subtrees else None, "e": _entries(layers, subtrees[1:])})
    blocks.append(top)
    return top[0]


def _entries(paths, rights):
    entries, last = [], b""
    for place, (path, cid) in enumerate(paths):
        key = path.encode()
        shared = 0
        while shared < min(len(last), len(key)) and last[shared] == key[shared]:
            shared += 1
        right = rights[place] if place < len(rights) else None
        entries.append({"p": shared, "k": key[shared:], "v": cid, "t": right})
        last = key
    return entries


def repository(records, *, did=DID, rev=REV, leftovers=(), version=3):
    """Return a CAR of ``{path: record}``; ``leftovers`` are blocks that the tree does not name."""
    blocks, paths = [], []
    for path in sorted(records):
        blocks.append(block(records[path]))
        paths.append((path, blocks[-1][0]))
    root = tree(paths, blocks)
    blocks.extend(block(record) for record in leftovers)
    commit = block({"did": did, "rev": rev, "data": root, "prev": None, "version": version})
    return car(commit[0], [commit, *blocks])


def post_record(text="one two", **fields):
    return {
        "$type": "app.bsky.feed.post",
        "text": text,
        "createdAt": "2025-05-01T10:00:00.000Z",
        **fields,
    }


def commit_car(records):
    """Return the CAR of an event and the CIDs of its records, by path."""
    blocks = {path: block(record) for path, record in records.items()}
    cids = {path: cid for path, (cid, _) in blocks.items()}
    root = block({"data": "not read"})
    return car(root[0], [root, *blocks.values()]), cids


def event(kind, body):
    """Return a relay's frame after its length."""
    frame = libipld.encode_dag_cbor({"op": 1, "t": kind}) + libipld.encode_dag_cbor(body)
    return len(frame).to_bytes(4, "little") + frame
