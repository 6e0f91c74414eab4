"""Letters to phones, crudely, and what the vocal tract does for each phone.

A phone is one character. The rules know the commonest spellings of English and nothing else: the
voice has to have the rhythm and the variety of speech, not its meaning. Frequencies are those of an
adult with a rather high voice, within what Peterson and Barney (J. Acoust. Soc. Am. 24, 1952) and
Hillenbrand et al. (J. Acoust. Soc. Am. 97, 1995) found.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["CONSONANTS", "VOWELS", "WEAK", "Consonant", "Formants", "phones"]

Formants = tuple[int, int, int]
"""F1, F2, F3 in Hz."""

VOWELS: dict[str, tuple[Formants, ...]] = {  # two targets for a diphthong
    "i": ((310, 2550, 3150),),
    "I": ((430, 2150, 2850),),
    "e": ((590, 1980, 2800),),
    "a": ((780, 1800, 2700),),
    "A": ((790, 1270, 2700),),
    "O": ((590, 950, 2650),),
    "U": ((460, 1180, 2600),),
    "u": ((350, 1080, 2550),),
    "V": ((670, 1400, 2700),),
    "R": ((500, 1450, 1900),),
    "@": ((530, 1550, 2650),),
    "E": ((540, 2080, 2800), (360, 2450, 3000)),
    "Y": ((780, 1350, 2700), (430, 2150, 2800)),
    "W": ((780, 1400, 2700), (450, 1100, 2600)),
    "o": ((570, 1100, 2600), (400, 930, 2550)),
    "Q": ((590, 950, 2650), (430, 2050, 2750)),
}


@dataclass(frozen=True)
class Consonant:
    """What one consonant does; levels are linear, 1 being a stressed vowel's voice."""

    formants: Formants  # where the tract is, which bends the vowels beside it
    ms: int
    voice: float = 0.0
    breath: float = 0.0  # noise through the tract
    friction: float = 0.0  # noise at the constriction
    centre: int = 4000  # Hz, of the friction
    width: int = 2500  # Hz
    damping: float = 1.0  # factor on all bandwidths
    stop: bool = False  # a closure, then a burst


CONSONANTS = {
    "w": Consonant((330, 780, 2450), 65, voice=0.6),
    "y": Consonant((300, 2450, 3100), 60, voice=0.6),
    "r": Consonant((380, 1250, 1750), 65, voice=0.6),
    "l": Consonant((380, 1150, 2850), 65, voice=0.55, damping=1.3),
    "m": Consonant((280, 1050, 2400), 75, voice=0.5, damping=2.5),
    "n": Consonant((280, 1650, 2650), 65, voice=0.5, damping=2.5),
    "N": Consonant((280, 2050, 2750), 75, voice=0.5, damping=2.5),
    "h": Consonant((560, 1550, 2650), 65, breath=0.7, damping=1.6),
    "f": Consonant((400, 1150, 2500), 95, friction=0.05, centre=7000, width=9000),
    "v": Consonant((320, 1150, 2500), 60, voice=0.35, friction=0.03, centre=7000, width=9000),
    "T": Consonant((400, 1450, 2700), 90, friction=0.045, centre=7600, width=8000),
    "D": Consonant((320, 1450, 2700), 50, voice=0.38, friction=0.03, centre=6500, width=8000),
    "s": Consonant((400, 1800, 2750), 105, friction=0.21, centre=6900, width=2600),
    "z": Consonant((320, 1800, 2750), 75, voice=0.28, friction=0.11, centre=6900, width=2600),
    "S": Consonant((400, 1900, 2600), 105, friction=0.26, centre=3400, width=1700),
    "Z": Consonant((320, 1900, 2600), 75, voice=0.28, friction=0.12, centre=3400, width=1700),
    "p": Consonant((350, 900, 2350), 80, friction=0.25, centre=1300, width=2600, stop=True),
    "b": Consonant((280, 900, 2350), 70, voice=0.16, friction=0.12, centre=1100, width=2600, stop=True),
    "t": Consonant((350, 1850, 2800), 75, friction=0.45, centre=5200, width=3400, stop=True),
    "d": Consonant((280, 1850, 2800), 60, voice=0.16, friction=0.22, centre=4700, width=3400, stop=True),
    "k": Consonant((350, 1950, 2500), 80, friction=0.4, centre=2300, width=1100, stop=True),
    "g": Consonant((280, 1950, 2500), 65, voice=0.16, friction=0.2, centre=2100, width=1100, stop=True),
}


def _pairs(table: str) -> dict[str, str]:
    return dict(pair.split("=") for pair in table.split())


_RULES = _pairs(
    "tion=S@n sion=Z@n igh=Y eigh=E ough=o augh=O ould=Ud tch=tS dge=dZ ture=tSR all=Ol "
    "ing=IN ight=Yt ank=aNk ink=INk air=eR ear=iR eer=iR our=WR oor=OR ore=OR are=eR ire=YR "
    "th=T sh=S ch=tS ph=f wh=w ck=k ng=N qu=kw kn=n wr=r gh=g ss=s ll=l tt=t pp=p ff=f rr=r "
    "nn=n mm=m dd=d cc=k ee=i ea=i oo=u ou=W ow=o oa=o ai=E ay=E oi=Q oy=Q au=O aw=O ew=yu "
    "ie=i ei=E ue=u ui=u er=R ir=R ur=R ar=AR or=OR ce=se ci=sI cy=si ge=dZe gi=dZI "
    "a=a b=b c=k d=d e=e f=f g=g h=h i=I j=dZ k=k l=l m=m n=n o=A p=p q=k r=r s=s t=t u=V "
    "v=v w=w x=ks y=i z=z"
)
_RULE = re.compile("|".join(sorted(_RULES, key=len, reverse=True)))
_LONG = {"a": "E", "e": "i", "i": "Y", "o": "o", "u": "u"}  # before one consonant and a silent e
# Unstressed in a sentence: they are what gives it its rhythm.
WEAK = _pairs(
    "the=D@ a=@ an=@n to=t@ of=@v and=@nd for=fR is=Iz it=It in=In on=An at=@t as=@z are=AR "
    "was=w@z be=bi been=bIn has=h@z have=h@v had=h@d i=Y im=Ym ill=Yl you=yu your=yOR my=mY "
    "we=wi that=D@t this=DIs with=wID will=wIl can=k@n would=wUd do=du does=dVz so=so or=OR"
)
DIGITS = ("ziro", "wVn", "tu", "Tri", "fOR", "fYv", "sIks", "sev@n", "Et", "nYn")


def phones(word: str) -> str:
    """The phones of a word in small letters, or of one digit; "" for a lone apostrophe."""
    if word.isdigit():
        return DIGITS[int(word)]
    if word in WEAK:
        return WEAK[word]
    word = word.replace("'", "")
    magic = re.fullmatch(r"(.*[^aeiou])([aeiou])([bcdfgklmnprstvz])e(s|d)?", word)
    if magic:
        head, vowel, consonant, tail = magic.groups()
        soft = {"c": "s", "g": "dZ"}.get(consonant, _RULES[consonant])
        return _by_rule(head) + _LONG[vowel] + soft + {"s": "s", "d": "d"}.get(tail, "")
    if len(word) > 3 and word.endswith("e"):
        word = word[:-1]
    return _by_rule(word)


def _by_rule(letters: str) -> str:
    return _RULE.sub(lambda match: _RULES[match[0]], letters)
