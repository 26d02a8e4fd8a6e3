"""The model card: what a network was trained on, how good it is, what it must not be taken for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from covidmt.exporting.facts import ModelFacts
from covidmt.prediction.answer import NOTICE
from experiments.keys import Values
from experiments.lungs.masks import HEARTS
from explain.decision import Decision


def model_card(facts: ModelFacts) -> str:
    """Return the card, Markdown.

    Example:
        >>> from experiments.load import SHIPPED, load_experiment
        >>> card = model_card(ModelFacts(load_experiment(SHIPPED / "demo.yaml", ["active_tasks=[covidx]"])))
        >>> [line for line in card.splitlines() if line.startswith("#")][:3]
        ['# demo', '## What it is', '## What it was trained on']
        >>> "not a medical device" in card
        True
    """
    sections = {
        "What it is": _describe_network(facts),
        "What it was trained on": _describe_data(facts.datasets),
        "Scores": _describe_scores(facts),
        "Shortcuts": _describe_shortcuts(facts.shortcuts),
        "How to use it": _describe_use(facts),
        "Licence": _describe_licence(facts),
    }
    parts = [f"# {facts.experiment.name}", f"**{NOTICE}**"]
    for title, text in sections.items():
        parts += [f"## {title}", text]
    return "\n\n".join(parts) + "\n"


def _describe_network(facts: ModelFacts) -> str:
    experiment, robustness = facts.experiment, facts.experiment.robustness
    data, decision = experiment.data, Decision.of(experiment.tasks[robustness.task], robustness)
    tasks = [f"{task.name} ({', '.join(task.labels) or 'boxes'})" for task in experiment.active]
    lines = {
        "base network": experiment.model.backbone,
        "tasks": "; ".join(tasks),
        "decision": decision.words,
        "input": f"a chest X-ray, grey, resized to {data.image_size} x {data.image_size} pixels",
        "checked": f"the decision after {data.pairs.channel}, and the share of the heat map inside the lungs "
        f"({HEARTS[data.masks.heart]}; warned of below {robustness.eta:g})",
        "weights": f"of epoch {facts.epoch + 1}" if facts.epoch is not None else "of the best epoch",
        "run": facts.run_id or "not known",
    }
    return "\n".join(f"- {name}: {text}" for name, text in lines.items())


def _describe_data(datasets: Sequence[Mapping[str, str]]) -> str:
    if not datasets:
        return "Not known here: the run's inputs in MLflow tell."
    lines = ["| data set | split | images | with each label |", "| --- | --- | ---: | --- |"]
    for dataset in datasets:
        profile: Values = json.loads(dataset.get("profile") or "{}")
        for split, counts in profile.items():
            if isinstance(counts, dict):
                labels = ", ".join(f"{label} {count}" for label, count in counts.items() if label != "images")
                lines.append(f"| {dataset['name']} | {split} | {counts['images']} | {labels or '-'} |")
    return "\n".join(lines)


def _describe_scores(facts: ModelFacts) -> str:
    if not facts.scores:
        return "Not known here: the run's metrics in MLflow tell, or `covidmt evaluate`."
    note = (
        "Intervals are 95 % over the patients of these images alone; images from elsewhere, of other machines or "
        "people, may get other scores."
    )
    return f"{facts.scores}\n\n{note}"


def _describe_shortcuts(shortcuts: Sequence[str] | None) -> str:
    look = "`covidmt data check` looks at file formats and sizes too."
    if shortcuts is None:
        return f"They were not looked for. {look}"
    if not shortcuts:
        return f"No class of the first task is given away by the source of its training images. {look}"
    return "\n".join(f"- {sentence}" for sentence in shortcuts) + f"\n\n{look}"


def _describe_use(facts: ModelFacts) -> str:
    reference = facts.run_id or "CHECKPOINT"
    return f"""```
covidmt predict {reference} film.png
covidmt serve {reference}
```

In Python, where covidmt is installed, with a file's bytes or their base64:
`mlflow.pyfunc.load_model(URI).predict(pandas.DataFrame({{"image": [FILE_BYTES]}}))`."""


def _describe_licence(facts: ModelFacts) -> str:
    sources = ", ".join(sorted({task.source for task in facts.experiment.active}))
    return (
        "The software is under the Apache License 2.0. The weights were learned from "
        f"{sources}: what their publishers allow (research only, for most) holds for the weights too."
    )
