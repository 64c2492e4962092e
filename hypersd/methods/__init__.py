"""Training methods by the name that a recipe gives: where each one's task is built.

`module:callable`, which takes a recipe and a device and gives a `hypersd.task.Task`; it is imported
when it is needed, so that a list of names costs no import of torch.
"""

METHODS = {
    "lcm": "hypersd.methods.lcm:build",
    "tcd": "hypersd.methods.tcd:build",
    "tscd": "hypersd.methods.tscd:build",
    "lightning": "hypersd.methods.lightning:build",
    "dmd": "hypersd.methods.dmd:build",
    "dmd2": "hypersd.methods.dmd2:build",
    "pcm": "hypersd.methods.pcm:build",
    "feedback": "hypersd.methods.feedback:build",
    # The embedded world's own networks.
    "shapes_vae": "hypersd.shapes.vae:VaeTask",
    "shapes_text": "hypersd.shapes.reader:ReaderTask",
    "shapes_teacher": "hypersd.shapes.teacher:TeacherTask",
    "shapes_clip": "hypersd.shapes.clip:ClipTask",
    "shapes_clip_robust": "hypersd.shapes.clip_robust:RobustClipTask",
    "shapes_hps": "hypersd.shapes.preference:PreferenceTask",
    "shapes_aesthetic": "hypersd.shapes.aesthetic:AestheticTask",
    "shapes_features": "hypersd.shapes.features:FeaturesTask",
    "shapes_segmenter": "hypersd.shapes.segmenter:SegmenterTask",
    "shapes_oracle": "hypersd.shapes.oracle_training:OracleTask",
}
