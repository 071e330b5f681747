"""Every sentence of the page. Another language is another `Texts`, handed to `ui.page.build`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """The words of one language; names in braces are filled in by the page.

    ``names`` maps a class to a noun phrase for use in a sentence, ``titles`` to its name in a list; a class that
    neither knows is shown by its own name. ``problems`` replaces the service's sentence by error code,
    ``advice`` follows it, by HTTP status.
    """

    language: str
    title: str
    intro: str
    photo: str
    photo_placeholder: str
    photo_alt: str
    classify: str
    examples: str
    example_names: Mapping[str, str]

    answer: str
    waiting: str
    looking: str
    known: str
    refused: str
    refused_reason: str
    probabilities: str
    percent: str
    almost_all: str
    almost_none: str
    names: Mapping[str, str]
    unnamed: str
    titles: Mapping[str, str] = field(default_factory=dict)

    was_it_right: str
    was_refusing_right: str
    right: str
    right_to_refuse: str
    correction: str
    correction_info: str
    something_else: str
    new_class: str
    new_class_info: str
    wrong: str
    choose_first: str
    name_first: str
    stored: str

    models: str
    unexpected: str
    problems: Mapping[str, str]
    advice: Mapping[int, str]

    def noun(self, label: str) -> str:
        """``label`` as a noun phrase: "a cat"."""
        return self.names.get(label, self.unnamed.format(label=label))

    def listed(self, label: str) -> str:
        """``label`` as it stands in a list: "Cat"."""
        return self.titles.get(label, label[:1].upper() + label[1:])

    def share(self, probability: float) -> str:
        """A probability in 0..1 in whole percent; below 1 % and above 99 % only the bound is told."""
        if probability < 0.01:
            return self.almost_none
        if probability >= 0.995:
            return self.almost_all
        return self.percent.format(value=round(100 * probability))


ENGLISH = Texts(
    language="en",
    title="What is in the photo?",
    intro="Show a photo of an airplane, automobile, bird, cat, deer, dog, frog, horse, ship or truck – and see the "
    "answer, or hear that the network does not know it.",
    photo="Photo",
    photo_placeholder="Drop a photo here, or tap to choose one",
    photo_alt="The photo to classify",
    classify="Classify",
    examples="No photo at hand? Try one of these drawings.",
    example_names={"airplane": "Airplane", "ship": "Ship", "automobile": "Car", "checkerboard": "Squares"},
    answer="Answer",
    waiting="The answer appears here.",
    looking="Looking …",
    known="{Name}, {share} sure",
    refused="I don’t know this. My best guess would be {name}.",
    refused_reason="The photo is unlike those that the network learned from: of good photos, {share} look as unusual.",
    probabilities="Most probable classes",
    percent="{value} %",
    almost_all="over 99 %",
    almost_none="under 1 %",
    names={
        "airplane": "an airplane",
        "automobile": "an automobile",
        "bird": "a bird",
        "cat": "a cat",
        "deer": "a deer",
        "dog": "a dog",
        "frog": "a frog",
        "horse": "a horse",
        "ship": "a ship",
        "truck": "a truck",
    },
    unnamed="the class “{label}”",
    was_it_right="Was this right?",
    was_refusing_right="Was it right not to know this?",
    right="Right",
    right_to_refuse="Right, it is none of the classes",
    correction="If wrong: what is it?",
    correction_info="Your correction is reviewed before anything learns from it.",
    something_else="Something else …",
    new_class="Name it",
    new_class_info="One or two words, such as “bicycle”.",
    wrong="Wrong, it is this",
    choose_first="Choose what it is, then press “Wrong, it is this”.",
    name_first="Write what it is, then press “Wrong, it is this”.",
    stored="Thank you. Stored as record {id}.",
    models="Network {cnn} · gate {forest}",
    unexpected="Something went wrong inside the page; the details are in its log. Please try again.",
    problems={
        "unreachable": "The service cannot be reached. Check that it is running, then try again.",
        "timeout": "The service did not answer in time. Please try again in a moment.",
        "bad_answer": "The service answered something that this page does not understand. "
        "Check that the address is that of the classifier.",
    },
    advice={
        400: "Please choose another photo.",
        401: "Start the page with the service’s token.",
        404: "Classify the photo again, then give feedback.",
        413: "Please choose a smaller photo.",
        415: "Save the photo as JPEG or PNG and try again.",
        429: "Please try again in a moment.",
        503: "Please try again in a moment.",
    },
)
