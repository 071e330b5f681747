"""Every sentence of the page. Another language is another `Texts`, handed to `ui.page.build`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LABEL_LENGTH = 64
"""Longest name of a class, characters; that of the API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """The words of one language; names in braces are filled in by the page.

    ``names`` maps a class to a noun phrase for use in a sentence, ``titles`` to its name in a list; a class that
    neither knows is shown by its own name. ``problems`` replaces the service's sentence by error code,
    ``advice`` follows it, by HTTP status. ``camera_faults`` has a sentence by the name of the browser's DOMException.
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
    seen: str
    seen_alt: str
    why: str
    why_there: str
    why_nowhere: str
    why_legend: str
    regions: tuple[str, ...]
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
    new_class_example: str
    wrong: str
    name_first: str
    said_right: str
    said_wrong: str
    stored: str
    undo: str
    withdrawn: str

    classify_tab: str
    live_tab: str
    live_intro: str
    live_forgotten: str
    live_failed: str
    pause: str
    go_on: str
    add_photos: str
    add_photos_intro: str
    camera: str
    camera_faults: Mapping[str, str]
    camera_failed: str
    capture_name: str
    capture_name_info: str
    capture_name_first: str
    capture_count: str
    take_burst: str
    taking: str
    photos_taken: str
    photo_number: str
    captured: str
    classes_line: str
    owner_only: str

    models: str
    signed_out: str
    unexpected: str
    problems: Mapping[str, str]
    advice: Mapping[int, str]

    def noun(self, label: str) -> str:
        """``label`` as a noun phrase: "a cat"."""
        return self.names.get(label, self.unnamed.format(label=label))

    def listed(self, label: str) -> str:
        """``label`` as it stands in a list: "Cat"."""
        return self.titles.get(label, label[:1].upper() + label[1:].replace("_", " "))

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
    intro="Show a photo of a thing or an animal, and see what the network takes it for – or hear that it does not "
    "know it.",
    photo="Photo",
    photo_placeholder="Drop a photo here, or tap to choose one",
    photo_alt="The photo to classify",
    classify="Classify",
    examples="No photo at hand? Try one of these drawings.",
    example_names={"airplane": "Airplane", "ship": "Ship", "automobile": "Car", "checkerboard": "Squares"},
    answer="Answer",
    waiting="The answer appears here.",
    seen="What the network saw: 32 × 32 pixels.",
    seen_alt="The photo as the network saw it, very coarse",
    why="Why?",
    why_there="It looked most at the {where} to find {name}.",
    why_nowhere="No single part of the photo made it think of {name}: hide any of them, and the answer stays.",
    why_legend="The brighter a part, the more the answer rests on it.",
    regions=(
        "upper left",
        "upper middle",
        "upper right",
        "left",
        "middle",
        "right",
        "lower left",
        "lower middle",
        "lower right",
    ),
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
        "apple": "an apple",
        "bottle": "a bottle",
        "chair": "a chair",
        "clock": "a clock",
        "cup": "a cup",
        "headphone": "headphones",
        "keyboard": "a keyboard",
        "lamp": "a lamp",
        "laptop": "a laptop",
        "orange": "an orange",
        "person": "a person",
        "scissors": "scissors",
        "soccer_ball": "a soccer ball",
        "telephone": "a telephone",
        "television": "a television",
        "umbrella": "an umbrella",
        "watch": "a watch",
    },
    unnamed="the class “{label}”",
    was_it_right="Was this right?",
    was_refusing_right="Was it right not to know this?",
    right="Right",
    right_to_refuse="Right, it is none of the classes",
    correction="If wrong: what is it? One click stores it.",
    correction_info="Your correction is reviewed before anything learns from it.",
    something_else="Something else …",
    new_class="What is it?",
    new_class_example="such as bicycle",
    wrong="Wrong, it is this",
    name_first="Write what it is, then press “Wrong, it is this”.",
    said_right="You said: right.",
    said_wrong="You said: it is {name}.",
    stored="Stored as record {id}. Thank you.",
    undo="Undo",
    withdrawn="Taken back. Nothing of it is stored any more.",
    classify_tab="Ask",
    live_tab="Live",
    live_intro="Hold something into the camera’s picture and watch the network make up its mind.",
    live_forgotten="Nothing here is stored, counted or learned from. To teach the network, take a photo under “Ask”.",
    live_failed="The live picture could not be classified. It is tried again.",
    pause="Pause",
    go_on="Go on",
    add_photos="Add photos",
    add_photos_intro="Teach it a class of your own: hold the thing into the picture, turn it and move it while the "
    "burst is taken. Take a few bursts, in other light and before other backgrounds.",
    camera="Live picture of the camera",
    camera_faults={
        "NotAllowedError": "The browser does not let this page use the camera. Allow it, and open this tab again.",
        "NotFoundError": "There is no camera. Connect one, and open this tab again.",
        "NotReadableError": "The camera does not answer. Check that it is connected and that no other program uses it.",
        "TimeoutError": "The camera gives no picture. Check that no other program uses it.",
        "SecurityError": "Browsers give the camera only to pages of this machine, or over https.",
    },
    camera_failed="The burst could not be taken. Please try again.",
    capture_name="What is it?",
    capture_name_info="The class’s name, such as “mug”: a new one, or one of the list to add to it.",
    capture_name_first="Write what it is, then press “Take the burst”.",
    capture_count="Number of photos",
    take_burst="Take the burst",
    taking="Taking the photos …",
    photos_taken="Photos taken",
    photo_number="Photo {number}",
    captured="Stored {photos} photos in {folder} of the data folder.",
    classes_line="For training, the classes file needs this line below “folders:”, once:",
    owner_only="Only the owner of this service may add photos.",
    models="Network {cnn} · gate {forest}",
    signed_out="You are no longer signed in. Reload the page and give the token again.",
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
        403: "Open the page with the owner’s token.",
        404: "Classify the photo again, then give feedback.",
        413: "Please choose a smaller photo.",
        415: "Save the photo as JPEG or PNG and try again.",
        429: "Please try again in a moment.",
        503: "Please try again in a moment.",
    },
)
