"""`offnormal fit`: a table or images in, a model file out."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from offnormal.cli import learned_images, pictures, reading, recordings, training
from offnormal.cli.console import (
    answers,
    cut_record,
    facts,
    how_many,
    image_in_words,
    listed,
    messages,
    print_json,
    promise,
    say,
    training_in_words,
    warnings_as_lines,
)
from offnormal.cli.options import (
    DataArgument,
    DataFormatOption,
    EncodingOption,
    ImageColumnOption,
    JsonOption,
    NamesOption,
    QuietOption,
    StrictOption,
    seconds,
)
from offnormal.cli.training import Roles
from offnormal.errors import InvalidParameter

if TYPE_CHECKING:
    from offnormal.data.images import Images
    from offnormal.detector import Detector


ModelOutput = Annotated[
    str, typer.Option("--output", "-o", metavar="MODEL", help="The model file to write.", show_default=False)
]
MethodOption = Annotated[
    str | None,
    typer.Option(
        "--method",
        "-m",
        metavar="KEY",
        help=f"See [bold]offnormal methods[/]. Default: {training.DEFAULT_METHOD} for tables, "
        f"{training.DEFAULT_METHOD_OF_IMAGES} for images and video, because it sees them with convolutions and says "
        f"where an image is unusual; {training.DEFAULT_METHOD} takes their pixels for columns, and found fewer odd "
        "digits in trials.",
        show_default=False,
    ),
]
PresetOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="A published configuration ([bold]offnormal methods KEY[/] lists them); flags override it.",
        show_default=False,
    ),
]
KeptOutOption = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="The column that holds labels; kept out of training.",
        show_default=False,
        rich_help_panel="Tables",
    ),
]
IgnoreOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN",
        help="A column to keep out of training. Can be repeated.",
        show_default=False,
        rich_help_panel="Tables",
    ),
]
IdOption = Annotated[
    list[str] | None,
    typer.Option(
        "--id",
        metavar="COLUMN",
        help="A column that names the rows: not used, carried to the scores. Can be repeated.",
        show_default=False,
        rich_help_panel="Tables",
    ),
]
GroupOption = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="The column that says which rows belong together (machine, batch, day): not used, but rows of one "
        "group are kept out together where the threshold is found, and for early stopping.",
        show_default=False,
        rich_help_panel="Tables",
    ),
]
CategoricalOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN",
        help="A column of numbers that are really categories. Can be repeated.",
        show_default=False,
        rich_help_panel="Tables",
    ),
]
TrainWhereOption = Annotated[
    str | None,
    typer.Option(
        metavar="CONDITION",
        help="Train on these rows only: 'label=benign', 'age>=18 and country!=KR'.",
        show_default=False,
        rich_help_panel="Tables",
    ),
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SUBFOLDER",
        help="Images: train on those in this subfolder of DATA only, e.g. good or train/good. Can be repeated.",
        show_default=False,
        rich_help_panel="Images",
    ),
]
ImageSizeOption = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Images: resize all to 64 (a square) or 64x48 (height x width). Default: the size most of them have.",
        show_default=False,
        rich_help_panel="Images",
    ),
]
ColorOption = Annotated[
    Literal["auto", "grey", "rgb"],
    typer.Option(
        help="Images: turn all to grey or into color; auto: as they are, which must then be all the same.",
        rich_help_panel="Images",
    ),
]
VideoOption = Annotated[
    bool,
    typer.Option(
        "--video",
        help="Take folders of images for recordings, their images for frames. Files of video need no saying.",
        rich_help_panel="Video",
    ),
]
ClipLengthOption = Annotated[
    int | None,
    typer.Option(
        metavar="FRAMES",
        min=2,
        help=f"Video: how many frames the model looks at together. Default: {recordings.DEFAULT_LENGTH}.",
        show_default=False,
        rich_help_panel="Video",
    ),
]
ClipStrideOption = Annotated[
    int | None,
    typer.Option(
        metavar="FRAMES",
        min=1,
        help=f"Video: train on a clip from every so many frames. Default: {recordings.DEFAULT_STRIDE}.",
        show_default=False,
        rich_help_panel="Video",
    ),
]
SeedOption = Annotated[int, typer.Option(help="Names all random numbers; the same seed gives the same model.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with the interrupted training of this MODEL.")]
TimeLimitOption = Annotated[
    str | None, typer.Option(metavar="DURATION", help="Stop training after 30s, 10m, 2h, 1h30m.", show_default=False)
]
RuleOption = Annotated[
    str | None,
    typer.Option(
        metavar="RULE",
        help="How the cut is found: conformal:0.01, quantile:0.99, mad:3.5, pot:0.001, fixed:12.5. "
        "Default: conformal:0.01. Changeable later with [bold]offnormal threshold[/].",
        show_default=False,
    ),
]
ContaminationOption = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Cut off this share of the training rows instead.", show_default=False),
]


def fit(
    data: DataArgument,
    output: ModelOutput,
    method: MethodOption = None,
    preset: PresetOption = None,
    label: KeptOutOption = None,
    ignore: IgnoreOption = None,
    id_columns: IdOption = None,
    categorical: CategoricalOption = None,
    group: GroupOption = None,
    train_where: TrainWhereOption = None,
    names: NamesOption = None,
    data_format: DataFormatOption = None,
    encoding: EncodingOption = "utf-8",
    only: OnlyOption = None,
    image_size: ImageSizeOption = None,
    color: ColorOption = "auto",
    video: VideoOption = False,
    clip_length: ClipLengthOption = None,
    clip_stride: ClipStrideOption = None,
    image_column: ImageColumnOption = None,
    strict: StrictOption = False,
    seed: SeedOption = 0,
    resume: ResumeOption = False,
    time_limit: TimeLimitOption = None,
    threshold: RuleOption = None,
    contamination: ContaminationOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    *,
    hyper_parameters: Mapping[str, str | bool],
) -> None:
    """Learn what is normal in DATA, a table, a folder of images or video, and write a model file.

    No labels are needed, and none are used, except that images in a folder good, or a list that labels anomalies, say
    which images are normal. A run that was interrupted goes on with [bold]--resume[/]. The hyper-parameters of each
    method are flags too: [bold]offnormal methods KEY[/] lists them.
    """
    reading.expect_writable(output, [reading.MODEL_SUFFIX])
    reading.refuse_model_as_data(data)
    if threshold is not None and contamination is not None:
        raise InvalidParameter("--threshold and --contamination both say where the cut is; give one of them.")
    limit = seconds(time_limit)
    roles = Roles(label, tuple(ignore or ()), tuple(id_columns or ()), tuple(categorical or ()), group)
    video = video or recordings.are_recordings(data)
    images = not video and (pictures.are_images(data) or image_column is not None)
    only_tables: dict[str, object] = {**roles.named(), "--train-where": train_where, "--names": names}
    only_tables |= {"--data-format": data_format, "--encoding": encoding != "utf-8"}
    only_images: dict[str, object] = {"--image-column": image_column, "--only": only}
    of_pictures = {"--image-size": image_size, "--color": color != "auto", "--strict": strict}
    if video:
        recordings.refuse_options(data, only_tables | only_images)
    elif images:
        pictures.refuse_table_options(data, only_tables)
    else:
        pictures.refuse_image_options(data, only_images | of_pictures)
    if not video:
        recordings.refuse_video_options(data, {"--clip-length": clip_length, "--clip-stride": clip_stride})
    wanted = learned_images.Wanted(
        learned_images.wanted_size(image_size), color, tuple(only or ()), strict, image_column
    )
    key = method or (training.DEFAULT_METHOD_OF_IMAGES if images or video else training.DEFAULT_METHOD)
    with warnings_as_lines(quiet):
        fixed = {"random_state": seed} | ({} if contamination is None else {"contamination": contamination})
        detector = training.configured(key, preset, hyper_parameters, fixed, threshold)
        rows: reading.Rows
        groups: Any = None
        if video:
            cutting = recordings.Wanted.of(wanted.size, color, clip_length, clip_stride, strict=strict)
            apart = "calibration" not in hyper_parameters
            clips = recordings.cut(data, cutting, seed if apart else None, quiet)
            rows, groups = clips.training, clips.groups
            detector.set_params(**({"calibration": "none"} if apart else {}))
        elif images:
            learned = learned_images.read(data, wanted, quiet)
            rows = learned.images
        else:
            table = reading.table_of(data, names, data_format, encoding, roles.categorical, quiet)
            learned_images.hint_at_list(table, data)
            rows, roles = training.rows_and_roles(table, roles, train_where)
            detector.set_params(**roles.parameters())
            groups = training.groups_of(rows, roles.group)
        if method is None and not quiet and (images or video):
            say(messages(), f"Method {key}, the default for {'video' if video else 'images'}.")
        training.run(detector, rows, Path(output), groups=groups, resume=resume, time_limit=limit, quiet=quiet)
        if video and len(clips.kept_out):
            recordings.calibrate(detector, clips.kept_out, clips.apart)
        refused = training.save(detector, output, threshold)
    if as_json:
        print_json(_record(detector, key, output) | (learned.record() if images else {}))
    elif not quiet:
        if video:
            what, scored = recordings.learned(clips, detector), "NEW_VIDEO"
        else:
            what = _of_images(detector, rows) if images else _of_columns(detector)
            scored = learned.to_score(data) if images else data
        _tell(detector, output, key, what, _next_command(scored, output, names, data_format, encoding))
    if refused is not None:
        raise refused


def _record(detector: Detector, method: str, output: str) -> dict[str, Any]:
    """Return what a script wants to know."""
    from offnormal.networks.diversity import generator_state

    trained = detector.training_
    return {
        "model": output,
        "method": method,
        "rows": trained["rows"],
        **(
            detector.schema_.to_json()
            if pictures.seen_by(detector)
            else {"columns": [column.name for column in detector.schema_.columns]}
        ),
        "features": trained["features"],
        "epochs": trained["epochs"],
        "seconds": trained["seconds"],
        "stopped": trained["stopped"],
        **generator_state(trained),
        "threshold": cut_record(detector),
        "calibration": {"kind": detector.calibration_.kind, "rows": detector.calibration_.n},
    }


def _next_command(data: str, output: str, names: str | None, data_format: str | None, encoding: str) -> str:
    """Return the command that scores such data; of images others, since a folder of training images has no others."""
    words = ["offnormal", "score", output, data, "-o", "scores.csv"]
    words += [] if names is None else ["--names", names]
    words += [] if data_format is None else ["--data-format", data_format]
    words += [] if encoding == "utf-8" else ["--encoding", encoding]
    return shlex.join(words)


def _of_columns(detector: Detector) -> dict[str, str]:
    columns, features = detector.schema_.columns, how_many(detector.training_["features"], "feature")
    return {
        "rows": f"{detector.training_['rows']:,}",
        "columns": f"{len(columns)} used ({features}): {listed(c.name for c in columns)}",
    }


def _of_images(detector: Detector, images: Images) -> dict[str, str]:
    inside = pictures.of_subfolders(images)
    return {
        "images": f"{len(images):,}" + (f", by subfolder: {inside}" if inside else ""),
        "each": image_in_words(detector.schema_.shape),
    }


def _tell(detector: Detector, output: str, method: str, what: Mapping[str, str], following: str) -> None:
    """Say what was learned, what the cut promises, and what to run next."""
    cut, console = detector.threshold_, answers()
    console.print(
        facts(
            {
                "model": output,
                "method": method,
                **what,
                "training": training_in_words(detector.training_),
                "threshold": f"{cut.value:.6g} ({cut.rule})",
                "promise": promise(detector, whole=False),
            }
        )
    )
    say(console, f"Next: {following}")
