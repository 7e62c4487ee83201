"""Small exports of chats and mail, one of each that the guides name; every word is made up."""

import gzip
import json
import zipfile
from pathlib import Path

DISCORD_MESSAGE = {
    "id": "900",
    "type": "Default",
    "timestamp": "2025-01-06T01:00:00+00:00",
    "author": {"id": "1", "name": "writer0"},
}
TELEGRAM_MESSAGE = {"id": 1, "type": "message", "date_unixtime": "1736125200", "from": "writer0"}
ZULIP_REALM = {
    "zerver_userprofile": [{"id": 1, "full_name": "writer0"}],
    "zerver_stream": [{"id": 10, "name": "birds", "invite_only": False}],
    "zerver_recipient": [{"id": 100, "type": 2, "type_id": 10}],
}
ZULIP_MESSAGE = {"id": 5, "sender": 1, "recipient": 100, "subject": "owls", "date_sent": 1736125200}


def write_chat_exports(folder: Path, text: str) -> None:
    """Write into ``folder`` every export that the guides of chats read, each with ``text``."""
    slack_message = {"type": "message", "user": "U1", "text": text, "ts": "1736125200.000100"}
    slack = {
        "users.json": [{"id": "U1", "name": "writer0"}],
        "channels.json": [{"id": "C1", "name": "birds"}],
        "birds/2025-01-06.json": [slack_message],
    }
    with zipfile.ZipFile(folder / "slack-export.zip", "w") as archive:
        for name, content in slack.items():
            archive.writestr(name, json.dumps(content))
    with zipfile.ZipFile(folder / "chat.zip", "w") as archive:
        archive.writestr("_chat.txt", f"[06.01.25, 01:00:00] writer0: {text}\n")
    documents = {
        "exported-channels/birds.json": {
            "guild": {"id": "7", "name": "birds"},
            "channel": {"id": "8", "type": "GuildTextChat", "name": "owls"},
            "messages": [{**DISCORD_MESSAGE, "content": text}],
        },
        "result.json": {
            "name": "birds",
            "type": "public_channel",
            "id": 55,
            "messages": [{**TELEGRAM_MESSAGE, "text": text}],
        },
        "inbox/writer_1/message_1.json": {
            "participants": [{"name": "writer0"}],
            "messages": [
                {"sender_name": "writer0", "timestamp_ms": 1736125200000, "content": text}
            ],
        },
        "zulip-export/realm.json": ZULIP_REALM,
        "zulip-export/messages-000001.json": {
            "zerver_message": [{**ZULIP_MESSAGE, "content": text, "rendered_content": None}]
        },
    }
    for name, content in documents.items():
        write(folder / name, json.dumps(content, indent=1))
    write(folder / "irclogs" / "#birds-2025-01-06.log", f"[01:00] <writer0> {text}\n")
    mail = (
        "From writer0 at example.org  Mon Jan  6 01:00:00 2025\n"
        "From: writer0 at example.org (writer0)\nDate: Mon, 6 Jan 2025 01:00:00 +0000\n"
        f"Message-ID: <1@example.org>\nSubject: owls\n\n{text}\n"
    )
    (folder / "2024-January.txt.gz").write_bytes(gzip.compress(mail.encode()))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
