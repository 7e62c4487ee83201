"""One reader at a time, without the store: what it finds in a file, sorted by kind."""

from dataclasses import dataclass, field

from mynah.posts.export_file import ExportFile
from mynah.posts.format import look_at
from mynah.posts.post import Post
from mynah.posts.reader import Deleted, PrivatePost, ReadOptions, Rejected, SourceReport


@dataclass
class Reading:
    """What a reader gave."""

    format: str
    report: SourceReport
    found: list = field(default_factory=list)

    def of(self, kind):
        return [one for one in self.found if isinstance(one, kind)]

    @property
    def posts(self):
        return self.of(Post)

    @property
    def by_id(self):
        return {post.id.partition(":")[2]: post for post in self.posts}

    @property
    def deleted(self):
        return self.of(Deleted)

    @property
    def private(self):
        return self.of(PrivatePost)

    @property
    def rejected(self):
        return self.of(Rejected)


def read_file(path, formats, *, name="", **options):
    """Read ``path`` by the first of ``formats`` that knows it, or by the one of that name."""
    file = ExportFile(path=path, name=path.name)
    head = look_at(file)
    chosen = next(f for f in formats if (f.name == name if name else f.sniff(head)))
    reading = Reading(chosen.name, SourceReport(path.name, chosen.name))
    reading.found.extend(chosen.read(file, ReadOptions(**options), reading.report))
    return reading
