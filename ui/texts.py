"""Every sentence of the page. Another language is another `Texts`, handed to `ui.page.build`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LABEL_LENGTH = 64
"""Longest name of a class, characters; that of the API."""
SOMETHING_ELSE = "something else"
"""What is stored where a person says only that it is none of the classes: no name of one, and it proposes none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """The words of one language; names in braces are filled in by the page.

    ``names`` maps a class to a noun phrase for use in a sentence, ``titles`` to its name in a list, ``columns`` a
    column of the profile to its name in a table; what they do not know is shown by its own name. ``photos_n`` and
    ``answers_n`` have two forms, for one of them and for any other number. ``problems`` replaces the service's sentence
    by error code, ``advice`` follows it, by HTTP status. ``camera_faults`` has a sentence by the name of the browser's
    DOMException.
    """

    language: str
    title: str
    intro: str
    photo: str
    photo_placeholder: str
    photo_alt: str
    from_file: str
    from_camera: str
    no_photo_file: str
    too_heavy: str
    classify: str
    examples: str
    example_names: Mapping[str, str]

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
    columns: Mapping[str, str] = field(default_factory=dict)

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
    give_again: str
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

    review_tab: str
    review_intro: str
    review_class: str
    review_model: str
    review_only: str
    any_class: str
    any_model: str
    nothing_pending: str
    nothing_matches: str
    review_counts: str
    review_keys: str
    review_grid: str
    review_card: str
    review_photo: str
    no_photo: str
    review_said: str
    review_guess: str
    review_refused: str
    accept: str
    reject: str
    relabel: str
    relabel_as: str
    relabel_first: str
    monitor_tab: str
    traffic: str
    traffic_intro: str
    requests: str
    requests_since: str
    photos: str
    photos_minute: str
    refusals: str
    of_the_hour: str
    confidence: str
    estimated: str
    estimated_how: str
    feedback_accuracy: str
    feedback_accuracy_of: str
    no_feedback: str
    waiting_review: str
    label_mix: str
    confidence_mix: str
    nothing_yet: str
    drift: str
    drift_intro: str
    no_windows: str
    drift_column: str
    drift_cell: str
    drift_chance: str
    drift_certain: str
    too_few: str
    not_tested: str
    drifted: str
    not_drifted: str
    drift_detail: str
    value: str
    reference: str
    this_window: str
    full_report: str
    mlflow: str
    mlflow_how: str
    history: str
    model: str
    champion: str
    created: str
    origin: str
    test_accuracy: str
    trained: str
    retrained: str
    took_back: str
    challengers: str
    no_challengers: str
    challenger: str
    verdict: str
    because: str
    differences: str
    promoted: str
    not_promoted: str
    compared: str
    data_tab: str
    classes: str
    classes_intro: str
    class_name: str
    share_of_largest: str
    in_dataset: str
    in_captured: str
    in_corrections: str
    balance: str
    deletion: str
    deletion_intro: str
    bursts: str
    photos_n: tuple[str, str]
    answers_n: tuple[str, str]
    feedback: str
    prediction_id: str
    delete: str
    delete_what: str
    delete_all: str
    delete_burst_really: str
    delete_one_really: str
    delete_all_really: str
    burst_deleted: str
    feedback_deleted: str
    prediction_first: str
    review_kinds: Mapping[str, str]
    reviewed: Mapping[str, str]
    marks: Mapping[str, str]

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

    def column(self, name: str) -> str:
        """The name of a column of the profile, as it stands in a table."""
        return self.columns.get(name, name[:1].upper() + name[1:].replace("_", " "))

    def counted(self, forms: tuple[str, str], n: int) -> str:
        """``n`` of something: "1 photo", "2 photos". A language with more forms than two overrides this."""
        return forms[n != 1].format(n=f"{n:,}")

    def exact(self, share: float | None) -> str:
        """A measured share, 0..1, in percent with one decimal; a dash for None."""
        return "–" if share is None else self.percent.format(value=f"{100 * share:.1f}")

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
    photo_placeholder="Drop or paste a photo, or tap to choose one",
    photo_alt="The photo to classify",
    from_file="Choose a photo",
    from_camera="Use the camera",
    no_photo_file="This is not a photo that the browser knows. Choose a JPEG or PNG file.",
    too_heavy="This file is too large: a photo may have {megabytes} MB. Save a smaller copy of it and choose that.",
    classify="Try again",
    examples="No photo at hand? Try one of these drawings.",
    example_names={"airplane": "Airplane", "ship": "Ship", "automobile": "Car", "checkerboard": "Squares"},
    waiting="Show a photo, and the answer appears here.",
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
    percent="{value}\N{NO-BREAK SPACE}%",
    almost_all="over 99\N{NO-BREAK SPACE}%",
    almost_none="under 1\N{NO-BREAK SPACE}%",
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
        SOMETHING_ELSE: "something else",
    },
    unnamed="the class “{label}”",
    columns={"ood_score": "OOD score"},
    was_it_right="Was this right?",
    was_refusing_right="Was it right not to know this?",
    right="Right",
    right_to_refuse="Right, it is none of the classes",
    correction="If wrong: what is it? One click stores it.",
    correction_info="Your correction is reviewed before anything learns from it.",
    something_else="Something else",
    new_class="Or write what it is",
    new_class_example="such as bicycle",
    wrong="Wrong, it is this",
    name_first="Write what it is, then press “Wrong, it is this”.",
    give_again="Nothing was done: the page has forgotten which photo this is about. Please give it once more.",
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
        "NotAllowedError": "The browser does not let this page use the camera. Allow it, then try again.",
        "NotFoundError": "There is no camera. Connect one, then try again.",
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
    captured="Stored {photos} in {folder} of the data folder.",
    classes_line="For training, the classes file needs this line below “folders:”, once:",
    owner_only="Only the owner of this service may do this.",
    review_tab="Review",
    review_intro="What people said was wrong. What you accept trains next time; what you reject never does.",
    review_class="Class",
    review_model="Network",
    review_only="Only",
    any_class="Any class",
    any_model="Any network",
    nothing_pending="Nothing waits for review.",
    nothing_matches="Nothing that waits for review meets these filters.",
    review_counts="{shown} of {matching} shown; waiting in all: {pending}.",
    review_keys="Keys on a card: A accept, L relabel, R reject, N next, P previous, Z undo.",
    review_grid="Corrections that wait for review",
    review_card="Correction {id}: {name}",
    review_photo="The photo of correction {id}",
    no_photo="No photo is kept, or it cannot be read: it cannot train.",
    review_said="Person: {name}",
    review_guess="Network: {name}, {share}",
    review_refused="(refused)",
    accept="Accept",
    reject="Reject",
    relabel="Relabel",
    relabel_as="Another class",
    relabel_first="Write the class first, then press “Relabel”.",
    monitor_tab="Monitor",
    traffic="Traffic",
    traffic_intro="What this server answered in the last hour, at most the last 2,000 photos.",
    requests="Requests",
    requests_since="since the start",
    photos="Photos",
    photos_minute="{n} in the last minute",
    refusals="Refused",
    of_the_hour="of the last hour",
    confidence="Mean confidence",
    estimated="Estimated accuracy",
    estimated_how="without labels: mean confidence of what is accepted",
    feedback_accuracy="Accuracy by feedback",
    feedback_accuracy_of="{low} to {high} (95 %), {answers}",
    no_feedback="nobody has answered yet",
    waiting_review="Corrections to review",
    label_mix="Answers",
    confidence_mix="Confidence",
    nothing_yet="Nothing yet.",
    drift="Drift",
    drift_intro="Each window of traffic against the photos that the network was checked on. Choose a cell to see both.",
    no_windows="No window of traffic has reached MLflow yet, or monitoring is off.",
    drift_column="Column",
    drift_cell="{column}, {time}: {verdict}",
    drift_chance="Chance",
    drift_certain="changed beyond doubt. “!” is drift, “·” is not tested.",
    too_few="Too few photos to judge.",
    not_tested="Not tested.",
    drifted="Drift (adjusted p = {p}).",
    not_drifted="No drift (adjusted p = {p}).",
    drift_detail="{column}, {time}",
    value="Value",
    reference="Reference",
    this_window="This window",
    full_report="Full drift report",
    mlflow="MLflow",
    mlflow_how="(on this machine, after “make mlflow”)",
    history="The network’s history",
    model="Network",
    champion="champion",
    created="Since (UTC)",
    origin="Origin",
    test_accuracy="Test accuracy",
    trained="trained from scratch",
    retrained="retrained from {tag}",
    took_back="took back {tag}",
    challengers="Challengers",
    no_challengers="No challenger was trained on this machine yet.",
    challenger="Challenger",
    verdict="Verdict",
    because="Why",
    differences="Against the champion",
    promoted="promoted",
    not_promoted="not promoted",
    compared="{name}: {difference} points ({low} to {high}, {photos})",
    data_tab="Data",
    classes="Classes",
    classes_intro="Photos of the dataset as it was last prepared, and what came since.",
    class_name="Class",
    share_of_largest="Against the largest",
    in_dataset="Dataset",
    in_captured="Captured",
    in_corrections="Accepted corrections",
    balance="The largest class has {ratio} times the photos of the smallest, {name}.",
    deletion="Delete",
    deletion_intro="What is deleted here is gone for good, and trains nothing from then on. "
    "A network that has learned from it keeps it until it is trained again.",
    bursts="Captured bursts",
    photos_n=("{n} photo", "{n} photos"),
    answers_n=("{n} answer", "{n} answers"),
    feedback="Feedback",
    prediction_id="Number of the record, or prediction_id",
    delete="Delete",
    delete_what="Delete {name}",
    delete_all="Delete all feedback ({answers}) and its photos",
    delete_burst_really="Delete {photos} in {folder} for good?",
    delete_one_really="Delete this feedback and its photo for good?",
    delete_all_really="Delete all feedback ({answers}) and its photos for good?",
    burst_deleted="Deleted {photos}.",
    feedback_deleted="Deleted {answers} and {photos}.",
    prediction_first="Write the number of the record first.",
    review_kinds={"refused": "refused", "unsure": "low confidence", "disagree": "network disagrees"},
    reviewed={
        "accept": "Accepted correction {id}.",
        "relabel": "Accepted correction {id} as {name}.",
        "reject": "Rejected correction {id}.",
        "undo": "Correction {id} waits for review again.",
    },
    marks={
        "duplicate_of": "same photo as {ids}",
        "near_duplicate_of": "almost the same photo as {ids}",
        "conflict_with": "{ids} says another class",
        "suspected_mislabel": "suspected mislabel: the network thinks otherwise",
        "photo_unreadable": "photo missing or damaged",
    },
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
        413: "Save a smaller copy of it and choose that.",
        415: "Save the photo as JPEG or PNG and try again.",
        429: "Please try again in a moment.",
        503: "Please try again in a moment.",
    },
)
