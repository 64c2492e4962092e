"""Training methods by the name that a recipe gives: one row each.

No row imports anything, so that a list of names costs no import of torch.
"""

from __future__ import annotations

from typing import NamedTuple

from hypersd.drawing import JUMPS, LCM, TCD, Drawing


class MethodRow(NamedTuple):
    """build: `module:callable`, which takes a recipe and a device and gives a `hypersd.task.Task`.
    drawn: how the students are drawn, unless a recipe's options say otherwise
    (`hypersd.methods.drawn_with`); None where what is trained is no student of a base."""

    build: str
    drawn: Drawing | None


METHODS = {
    "lcm": MethodRow("hypersd.methods.lcm:build", LCM),
    "tcd": MethodRow("hypersd.methods.tcd:build", TCD),
    "tscd": MethodRow("hypersd.methods.tscd:build", TCD),
    "lightning": MethodRow("hypersd.methods.lightning:build", JUMPS),
    "dmd": MethodRow("hypersd.methods.dmd:build", LCM),
    "dmd2": MethodRow("hypersd.methods.dmd2:build", LCM),
    "tdm": MethodRow("hypersd.methods.tdm:build", JUMPS),
    "one_adapter": MethodRow("hypersd.methods.one_adapter:build", TCD),
    "pcm": MethodRow("hypersd.methods.pcm:build", JUMPS),
    "feedback": MethodRow("hypersd.methods.feedback:build", JUMPS),
    # The embedded world's own networks.
    "shapes_vae": MethodRow("hypersd.shapes.vae:VaeTask", None),
    "shapes_text": MethodRow("hypersd.shapes.reader:ReaderTask", None),
    "shapes_teacher": MethodRow("hypersd.shapes.teacher:TeacherTask", None),
    "shapes_flow": MethodRow("hypersd.shapes.flow:FlowTask", None),
    "shapes_clip": MethodRow("hypersd.shapes.clip:ClipTask", None),
    "shapes_clip_robust": MethodRow("hypersd.shapes.clip_robust:RobustClipTask", None),
    "shapes_hps": MethodRow("hypersd.shapes.preference:PreferenceTask", None),
    "shapes_aesthetic": MethodRow("hypersd.shapes.aesthetic:AestheticTask", None),
    "shapes_features": MethodRow("hypersd.shapes.features:FeaturesTask", None),
    "shapes_segmenter": MethodRow("hypersd.shapes.segmenter:SegmenterTask", None),
    "shapes_oracle": MethodRow("hypersd.shapes.oracle_training:OracleTask", None),
}
