"""Make src/mynah/corpus/declaration.parquet, the texts of languages that fasttext does not know.

Reads a zip of the Universal Declaration of Human Rights, one text file a language (public domain,
as NLTK's data set udhr2); writes ``lang`` and the first characters of ``text``, sorted, so that
the same zip gives the same rows. Codes become ISO 639-1 where one exists, else 639-3.
"""

import argparse
import re
import zipfile
from collections import defaultdict
from pathlib import Path

import polars as pl

OUT = Path(__file__).parent.parent / "src" / "mynah" / "corpus" / "declaration.parquet"
MAX_CHARACTERS = 5_000
TABLE = """
abk:ab afr:af als:sq amh:am arb:ar ayr:ay azj:az bam:bm bel:be ben:bn bis:bi bod:bo bos:bs
bre:br bul:bg cat:ca ces:cs cha:ch cmn:zh cos:co cym:cy dan:da deu:de div:dv dzo:dz ell:el
eng:en epo:eo est:et eus:eu ewe:ee fao:fo fij:fj fin:fi fra:fr fri:fy fuc:ff gla:gd gle:ga
glg:gl gug:gn guj:gu hat:ht hau:ha heb:he hin:hi hrv:hr hun:hu hva:hus hye:hy ibo:ig ido:io
iii:ii ike:iu ina:ia ind:id isl:is ita:it jav:jv jpn:ja kal:kl kan:kn kat:ka kaz:kk khk:mn
khm:km kin:rw kir:ky kng:kg knc:kr kor:ko lao:lo lat:la lav:lv lin:ln lit:lt ltz:lb lua:lua
lug:lg mah:mh mal:ml mar:mr mkd:mk mlt:mt mly:ms mri:mi mya:my nav:nv nbl:nr ndo:ng nep:ne
nld:nl nno:nn nob:no nya:ny ojb:oj oss:os pan:pa pbu:ps pes:fa plt:mg pol:pl por:pt quy:qu
quz:qu roh:rm ron:ro run:rn rus:ru sag:sg san:sa slk:sk slv:sl sme:se smo:sm sna:sn som:so
sot:st spa:es src:sc srp:sr ssw:ss sun:su swe:sv swh:sw tah:ty tam:ta tat:tt tgk:tg tgl:tl
tha:th tir:ti ton:to tsn:tn tso:ts tuk:tk tur:tr uig:ug ukr:uk urd:ur uzn:uz ven:ve vie:vi
wln:wa wol:wo xho:xh ydd:yi yor:yo zul:zu aka_akuapem:tw aka_asante:tw aka_fante:fat
"""
TWO_LETTERS = dict(pair.split(":") for pair in TABLE.split())
"""Individual languages of the zip as the two letters that networks write for them."""


def language_of(stem: str) -> str | None:
    """Code of a file's language; none for texts without a code and superseded spellings."""
    if stem[0].isdigit() or re.search(r"_\d+$", stem):
        return None
    base = stem.split("_")[0]
    return TWO_LETTERS.get(stem, TWO_LETTERS.get(base, base))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("zip", type=Path)
    options = parser.parse_args()
    texts: dict[str, list[str]] = defaultdict(list)
    with zipfile.ZipFile(options.zip) as archive:
        for name in sorted(archive.namelist()):
            lang = language_of(Path(name).stem) if name.endswith(".txt") else None
            if lang is not None:
                text = " ".join(archive.read(name).decode("utf-8", errors="replace").split())
                texts[lang].append(text[:MAX_CHARACTERS])
    rows = [(lang, " ".join(found)) for lang, found in sorted(texts.items())]
    frame = pl.DataFrame(rows, schema=["lang", "text"], orient="row")
    frame.write_parquet(OUT, compression="zstd", compression_level=22, statistics=False)
    print(f"{frame.height} languages, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
