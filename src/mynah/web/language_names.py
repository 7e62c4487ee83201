"""Languages by their names in English. Codes are ISO 639-1 where one exists, else 639-3."""

__all__ = ["language_name"]

_TABLE = """
af=Afrikaans am=Amharic ar=Arabic arq=Algerian_Arabic ary=Moroccan_Arabic az=Azerbaijani
be=Belarusian bg=Bulgarian bn=Bengali bs=Bosnian ca=Catalan ceb=Cebuano cs=Czech cy=Welsh da=Danish
de=German el=Greek en=English eo=Esperanto es=Spanish et=Estonian eu=Basque fa=Persian
fi=Finnish fr=French ga=Irish gl=Galician gu=Gujarati ha=Hausa he=Hebrew hi=Hindi
hr=Croatian hu=Hungarian hy=Armenian id=Indonesian ig=Igbo is=Icelandic it=Italian
ja=Japanese ka=Georgian kk=Kazakh km=Khmer kn=Kannada ko=Korean ku=Kurdish la=Latin
lo=Lao lt=Lithuanian lv=Latvian mk=Macedonian ml=Malayalam mn=Mongolian mr=Marathi
ms=Malay my=Burmese nb=Norwegian ne=Nepali nl=Dutch nn=Norwegian_Nynorsk no=Norwegian
om=Oromo or=Odia pa=Punjabi pcm=Nigerian_Pidgin pl=Polish ps=Pashto pt=Portuguese
ro=Romanian ru=Russian rw=Kinyarwanda sd=Sindhi sh=Serbo-Croatian si=Sinhala sk=Slovak
sl=Slovenian so=Somali sq=Albanian sr=Serbian sv=Swedish sw=Swahili ta=Tamil te=Telugu
th=Thai ti=Tigrinya tl=Tagalog tr=Turkish ts=Tsonga tt=Tatar twi=Twi ak=Akan uk=Ukrainian
ur=Urdu uz=Uzbek vi=Vietnamese war=Waray xh=Xhosa yo=Yoruba yue=Cantonese zh=Chinese zu=Zulu
"""
_NAMES = {code: name for code, _, name in (entry.partition("=") for entry in _TABLE.split())}


def language_name(code: str | None) -> str:
    """Name of a language; a code that is not listed stays a code, none is ``unknown``."""
    if not code or code == "unknown":
        return "unknown"
    return _NAMES.get(code, code).replace("_", " ")
