"""Invented posts that no filter takes for copies of one another, as a table on disk."""

import csv
import random
from pathlib import Path

WHO = "the baker,our librarian,a cyclist,the ferry captain,my neighbour,the choir,a young painter,"
WHO += "the gardener,two students,the night guard,an old teacher,the mayor,the fishmonger,a nurse"
DID = "repaired,painted,lost,found again,borrowed,photographed,carried home,sold,hid,described,"
DID += "measured,cleaned,forgot,defended,drew,counted,planted,praised,explained,returned"
WHAT = (
    "a blue ladder,seven lanterns,the broken clock,an umbrella,the long letter,three apple trees,"
)
WHAT += "a map of the coast,the brass bell,a sack of flour,the wooden bridge,a green bicycle,"
WHAT += "the school piano,an empty boat,a jar of honey,the market stall,a pair of boots"
WHERE = "behind the harbour,near the old mill,at the station,on the hill,under the stone arch,"
WHERE += "beside the river,in the town hall,at the edge of the forest,by the lighthouse,in the rain"
WHEN = "before sunrise,last Tuesday,during the festival,after the storm,on the first of May,"
WHEN += "while everyone slept,in the middle of winter,at noon,just as the bells rang,yesterday"


def write_varied_posts(path: Path, *, num_posts: int, seed: int = 7) -> Path:
    """Write a CSV of ``num_posts`` posts by nine people; return its path."""
    draw = random.Random(seed)
    lists = [words.split(",") for words in (WHO, DID, WHAT, WHERE, WHEN)]
    with path.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["id", "author", "created_at", "text"])
        for number in range(num_posts):
            who, did, what, where, when = (draw.choice(words) for words in lists)
            more = " ".join(draw.choice(draw.choice(lists)) for _ in range(3))
            text = f"{who.capitalize()} {did} {what} {where} {when}, and {more}."
            day = f"2024-0{number % 9 + 1}-{number % 28 + 1:02} 10:00:00"
            table.writerow([f"{number:05}", f"person{number % 9}", day, text])
    return path
