"""A page to play on (`lm-pipeline play`): prompts, tokens with their probabilities, two experiments side by side.

The page is NiceGUI's; it lives on this machine's loopback address unless told otherwise and loads nothing from outside.
"""

import functools
import threading
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from lm_pipeline.errors import InputError, LmPipelineError
from lm_pipeline.project import load_project
from lm_pipeline.trained import load_trained

MAX_TOKENS = 400
"""Longest text that the page asks for: every token becomes an element of it."""


def serve(experiments: Sequence[str], host: str, port: int) -> None:
    """Show the page until Ctrl-C.

    Args:
        experiments: one or two, which stand side by side at first; the page offers all that are trained.

    Raises:
        InputError: the page's library is not installed.
        MissingArtifactError: an experiment does not exist or is not trained.
    """
    try:
        from nicegui import ui
    except ImportError as error:
        raise InputError("The playground needs NiceGUI: `pip install 'lm-pipeline[play]'`.") from error
    for experiment in experiments:
        _model(experiment)  # a wrong name or a damaged checkpoint is said here, not on the page
    ui.run(
        functools.partial(_page, list(experiments)),
        host=host,
        port=port,
        title="lm_pipeline playground",
        reload=False,
        show=False,
        show_welcome_message=False,
    )


@functools.lru_cache(maxsize=4)
def _model(experiment: str) -> tuple[Any, Any, threading.Lock]:
    """Scorer, tokenizer and a lock: one text at a time of each model."""
    return *load_trained(experiment), threading.Lock()


def _page(experiments: list[str]) -> None:
    from nicegui import ui

    known = list(load_project().declarations.experiments)
    ui.label("lm_pipeline playground").classes("text-h5")
    prompt = ui.textarea("Prompt (empty begins a document)").props("outlined autogrow").classes("w-full")
    with ui.row().classes("items-end"):
        numbers = {
            "max_tokens": ui.number("max tokens", value=60, min=1, max=MAX_TOKENS, precision=0),
            "temperature": ui.number("temperature", value=0.8, min=0, step=0.1),
            "top_k": ui.number("top k", value=50, min=0, precision=0),
            "top_p": ui.number("top p", value=1.0, min=0.01, max=1, step=0.05),
            "min_p": ui.number("min p", value=0.0, min=0, max=1, step=0.05),
            "repetition_penalty": ui.number("repetition penalty", value=1.0, min=1, step=0.1),
            "seed": ui.number("seed", value=0, min=0, precision=0),
        }
        for field in numbers.values():
            field.classes("w-36")  # as wide as the longest label
        button = ui.button("Generate")
    columns = []
    with ui.row().classes("w-full no-wrap items-start"):
        for index in range(2):
            with ui.column().classes("w-1/2"):
                value = experiments[index] if index < len(experiments) else None
                choice = ui.select(known, value=value, clearable=True, label=f"experiment {index + 1}")
                columns.append((choice.classes("w-full"), ui.column().classes("w-full answer")))
    ui.label("Colour: green is likely, red unlikely. Point at a token to see what else the model thought of.")

    async def answer() -> None:
        button.disable()
        try:
            settings = {name: field.value for name, field in numbers.items()}
            for choice, output in columns:
                output.clear()
                if choice.value:
                    await _answer(choice.value, prompt.value or "", settings, output)
        finally:
            button.enable()

    button.on_click(answer)


async def _answer(experiment: str, prompt: str, settings: dict[str, Any], output: Any) -> None:
    """Generate in a thread and show the tokens; what goes wrong is shown in their place."""
    from nicegui import run, ui

    try:
        answer = await run.io_bound(_generate, experiment, prompt, settings)
    except LmPipelineError as error:
        with output:
            ui.label(str(error)).classes("text-negative")
        return
    if answer is None:  # the server is shutting down
        return
    summary, views = answer
    with output:
        with ui.element("div").style("white-space: pre-wrap; line-height: 1.8"):
            if prompt:
                ui.label(prompt).classes("inline text-grey")
            for view in views:
                hue = round(120 * view.probability**0.5)  # red to green
                style = f"background: hsl({hue}, 80%, 85%); border-radius: 3px; padding: 1px"
                with ui.label(view.piece).classes("inline token").style(style):
                    lines = [f"{view.probability:.1%}, rank {view.rank + 1}"]
                    lines += [f"{probability:6.1%}  {piece!r}" for piece, probability in view.alternatives]
                    ui.tooltip("\n".join(lines)).style("white-space: pre; font-family: monospace")
        ui.label(summary).classes("text-caption")


def _generate(experiment: str, prompt: str, settings: dict[str, Any]) -> tuple[str, list[Any]]:
    from lm_pipeline.generation.alternatives import view_tokens
    from lm_pipeline.generation.generate import complete, prompt_tokens
    from lm_pipeline.specs.explaining import in_words
    from lm_pipeline.specs.generation import Decoding

    try:
        decoding = Decoding.model_validate(settings)
    except ValidationError as error:
        raise InputError(in_words(error, Decoding)) from error
    if decoding.max_tokens > MAX_TOKENS:
        raise InputError(f"max tokens is {decoding.max_tokens}; the page shows {MAX_TOKENS} at most.")
    scorer, tokenizer, lock = _model(experiment)
    with lock:
        [text] = complete(scorer, tokenizer, [prompt], decoding)
        views = view_tokens(scorer, tokenizer, prompt_tokens(tokenizer, prompt), text.tokens)
    total = sum(text.log_probs)
    return f"{len(text.tokens)} tokens, log probability {total:.2f}, ended by {text.ending}", views
