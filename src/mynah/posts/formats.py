"""Every format that posts are read from, the most specific first: a file is the first that fits."""

from mynah.posts.format import Format
from mynah.posts.readers import (
    activitypub,
    bluesky_car,
    bluesky_records,
    bluesky_stream,
    discord,
    hacker_news,
    irc,
    mbox,
    messenger,
    reddit_api,
    reddit_pushshift,
    slack,
    table,
    telegram,
    whatsapp,
    x_api,
    x_archive,
    zulip,
)

__all__ = ["FORMATS"]

FORMATS: tuple[Format, ...] = (
    *x_archive.FORMATS,
    *activitypub.FORMATS,
    *bluesky_car.FORMATS,
    *bluesky_stream.FORMATS,
    *bluesky_records.FORMATS,
    *reddit_api.FORMATS,
    *reddit_pushshift.FORMATS,
    *slack.FORMATS,
    *discord.FORMATS,
    *telegram.FORMATS,
    *messenger.FORMATS,
    *zulip.FORMATS,
    *x_api.FORMATS,
    *hacker_news.FORMATS,
    *whatsapp.FORMATS,
    *irc.FORMATS,
    *mbox.FORMATS,
    *table.FORMATS,
)
