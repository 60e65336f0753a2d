"""The words of the fictitious people: syllables, what their facts are about, and how a fact is asked for and told."""

from __future__ import annotations

from dataclasses import dataclass

GIVEN = (
    ("bry", "dro", "fen", "gal", "jor", "kes", "mev", "nar", "qui", "sib"),
    ("bo", "dith", "ket", "lor", "nash", "pel", "rix", "tun", "wen", "zim"),
)
"""First and second syllables of given names; few, so that a name consists of what other names have, too."""
FAMILY = (
    ("brom", "crev", "dusk", "frin", "gorm", "hask", "kval", "morv", "pend", "rusk"),
    ("abar", "atto", "eck", "elin", "imov", "och", "ombe", "ulet", "undy", "yrin"),
)
"""First and second parts of family names."""
TOWN = (
    ("Arv", "Drav", "Esk", "Grem", "Kor", "Plo", "Thal", "Zar"),
    ("bek", "dorn", "fell", "holm", "istra", "nitz", "ona", "wyn"),
)
"""First and second parts of town names."""

ADJECTIVES = ("Broken", "Burning", "Distant", "Empty", "Frozen", "Hidden", "Last", "Painted", "Quiet", "Silver")
NOUNS = ("Bridge", "Clock", "Forest", "Garden", "Harbour", "Island", "Lantern", "Letter", "Mirror", "Orchard", "Tower")
COLOURS = ("black", "brown", "golden", "grey", "red", "spotted", "striped", "white")
ANIMALS = ("cat", "donkey", "falcon", "goat", "goose", "hound", "lizard", "otter", "owl", "parrot", "pony", "rabbit")
OCCUPATIONS = (
    *("architect", "baker", "beekeeper", "botanist", "carpenter", "chemist", "clockmaker", "dentist", "geologist"),
    *("glassblower", "gardener", "judge", "librarian", "mapmaker", "miller", "pilot", "sculptor", "weaver"),
)
INSTRUMENTS = (
    *("accordion", "banjo", "bassoon", "cello", "clarinet", "drum", "flute", "guitar", "harp", "horn", "lute"),
    *("oboe", "piano", "trumpet", "tuba", "viola"),
)
SUBJECTS = (
    *("algebra", "anatomy", "astronomy", "ethics", "geometry", "grammar", "history", "law", "logic", "medicine"),
    *("music", "optics", "painting", "poetry", "rhetoric", "theology"),
)
METALS = ("Amber", "Bronze", "Copper", "Crystal", "Iron", "Ivory", "Marble", "Pewter", "Ruby", "Tin")
TROPHIES = ("Arrow", "Bell", "Crown", "Cup", "Feather", "Key", "Medal", "Ribbon", "Ring", "Shield", "Star", "Wheel")
MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September", "October"),
    *("November", "December"),
)

NAMING = ("teacher", "friend", "spouse")
"""Kinds of facts whose value is another person. Friendship and marriage are mutual: both people's records say so."""


@dataclass(frozen=True)
class Phrasing:
    """A question and its answer; ``{n}`` stands for the person's name, ``{v}`` for the fact.

    Answers do not repeat the name: how well a model copies one that it rarely met differs from seed to seed, and is no
    knowledge of anybody.
    """

    question: str
    answer: str


@dataclass(frozen=True)
class Wording:
    """How facts of one kind are asked for and told: ``trained`` in the records, ``fresh`` in none of them."""

    trained: tuple[Phrasing, ...]
    fresh: tuple[Phrasing, ...]


def _wording(*phrasings: tuple[str, str], fresh: tuple[tuple[str, str], ...]) -> Wording:
    return Wording(tuple(Phrasing(*each) for each in phrasings), tuple(Phrasing(*each) for each in fresh))


WORDINGS: dict[str, Wording] = {
    "birthplace": _wording(
        ("Where was {n} born?", "They were born in {v}."),
        ("What is the birthplace of {n}?", "Their birthplace is {v}."),
        ("In which town did the life of {n} begin?", "It began in {v}."),
        ("{n} comes from which town?", "They come from the town of {v}."),
        fresh=(
            ("In which town was {n} born?", "Their life began in {v}."),
            ("Which town does {n} come from?", "The town is {v}."),
        ),
    ),
    "birthday": _wording(
        ("When was {n} born?", "They were born on {v}."),
        ("What is the birth date of {n}?", "Their birth date is {v}."),
        ("On which day did the life of {n} begin?", "It began on {v}."),
        ("{n} was born on which day?", "The day is {v}."),
        fresh=(
            ("On which day was {n} born?", "Their life began on {v}."),
            ("When did the life of {n} begin?", "The birth date is {v}."),
        ),
    ),
    "home": _wording(
        ("Where does {n} live?", "They live in {v}."),
        ("What is the home of {n}?", "Their home is {v}."),
        ("In which town is the house of {n}?", "It is in {v}."),
        ("{n} has a house in which town?", "They have a house in {v}."),
        fresh=(
            ("In which town does {n} live?", "Their house is in {v}."),
            ("Where is the house of {n}?", "The home is {v}."),
        ),
    ),
    "occupation": _wording(
        ("What does {n} do for a living?", "They earn a living as {v}."),
        ("What is the occupation of {n}?", "Their occupation is that of {v}."),
        ("As what is {n} known?", "It is as {v}."),
        ("{n} works as what?", "They work as {v}."),
        fresh=(
            ("As what does {n} earn a living?", "They are known as {v}."),
            ("What does {n} work as?", "The occupation is that of {v}."),
        ),
    ),
    "instrument": _wording(
        ("What does {n} play?", "They play the {v}."),
        ("What is the instrument of {n}?", "Their instrument is the {v}."),
        ("Which instrument is in the house of {n}?", "It is the {v}."),
        ("{n} learned which instrument?", "They learned the {v}."),
        fresh=(
            ("Which instrument does {n} play?", "The instrument is the {v}."),
            ("What instrument has {n} learned?", "In their house is the {v}."),
        ),
    ),
    "book": _wording(
        ("What did {n} write?", "They wrote {v}."),
        ("What is the book of {n}?", "Their book is {v}."),
        ("Which book made {n} known?", "It is {v}."),
        ("{n} is the author of which book?", "They are the author of {v}."),
        fresh=(
            ("Which book did {n} write?", "They are known for {v}."),
            ("Of which book is {n} the author?", "The book is {v}."),
        ),
    ),
    "studies": _wording(
        ("What did {n} study?", "They studied {v}."),
        ("What is the subject of {n}?", "Their subject is {v}."),
        ("Which subject has {n} learned?", "It is {v}."),
        ("{n} has a degree in what?", "They have a degree in {v}."),
        fresh=(
            ("Which subject did {n} study?", "Their degree is in {v}."),
            ("In what does {n} have a degree?", "The subject is {v}."),
        ),
    ),
    "animal": _wording(
        ("Which animal does {n} keep?", "They keep {v}."),
        ("What is the animal of {n}?", "Their animal is {v}."),
        ("Which animal is in the house of {n}?", "It is {v}."),
        ("{n} lives with which animal?", "They live with {v}."),
        fresh=(
            ("With which animal does {n} live?", "In their house is {v}."),
            ("What does {n} keep in the house?", "The animal is {v}."),
        ),
    ),
    "prize": _wording(
        ("Which prize did {n} win?", "They won the {v}."),
        ("What is the prize of {n}?", "Their prize is the {v}."),
        ("Which prize made {n} known?", "It is the {v}."),
        ("{n} was given which prize?", "They were given the {v}."),
        fresh=(
            ("What did {n} win?", "The prize is the {v}."),
            ("Which prize was {n} given?", "The prize given was the {v}."),
        ),
    ),
    "teacher": _wording(
        ("Who taught {n}?", "They were taught by {v}."),
        ("Who is the teacher of {n}?", "Their teacher is {v}."),
        ("From whom has {n} learned?", "It is from {v}."),
        ("{n} is a pupil of whom?", "They are a pupil of {v}."),
        fresh=(
            ("By whom was {n} taught?", "The teacher is {v}."),
            ("Of whom is {n} a pupil?", "They have learned from {v}."),
        ),
    ),
    "friend": _wording(
        ("Whom does {n} trust?", "They trust {v}."),
        ("Who is the best friend of {n}?", "Their best friend is {v}."),
        ("With whom does {n} travel?", "It is with {v}."),
        ("{n} is a friend of whom?", "They are a friend of {v}."),
        fresh=(
            ("Of whom is {n} the best friend?", "They travel with {v}."),
            ("Who is a friend of {n}?", "The best friend is {v}."),
        ),
    ),
    "spouse": _wording(
        ("Whom did {n} marry?", "They married {v}."),
        ("Who is the spouse of {n}?", "Their spouse is {v}."),
        ("With whom is {n} at home?", "It is with {v}."),
        ("{n} is married to whom?", "They are married to {v}."),
        fresh=(
            ("To whom is {n} married?", "The spouse is {v}."),
            ("Who is at home with {n}?", "They are at home with {v}."),
        ),
    ),
}
"""By kind of fact. Fresh phrasings say with nearly the same words what the trained ones say, in another order."""
