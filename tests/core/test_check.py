from expunge.core.check import Check, Direction, EvidenceKind, NotMeasured, Question
from expunge.core.method import Cost


class Toy(Check):
    title, source, question = "Toy", "none", Question.GONE
    better, unit = Direction.HIGHER, "nats"

    def cost(self, n, references):
        return Cost(read=n * (references + 1))

    def measure(self, evidence):
        return NotMeasured(check=self.name, because="a toy")


def test_a_check_needs_references_unless_it_says_otherwise():
    assert Toy.needs == {EvidenceKind.REFERENCES}


def test_absence_is_a_value_of_its_own():
    absent = Toy().measure(None)
    assert absent == NotMeasured(check="", because="a toy")
    assert not hasattr(absent, "value")


def test_the_three_questions():
    assert [question.value for question in Question] == [
        "Is it gone?",
        "Is the rest intact?",
        "Can someone get it back?",
    ]
