"""Classification: what its training asks of the config, and runs of it."""

from .case import Case, nothing

SMOKE = "train experiment=smoke_classes"

# fmt: off
CASES = [
    Case("a normalisation of labelled series", "build.py label_chain: norm is", nothing, "norm is instance; data.scale scales labelled series → leave it out", f"{SMOKE} norm=instance", 2),
    Case("a model of classes that gives more tokens", "build.py require: gives more tokens", nothing, "Linear gives more tokens than it takes; task=classify has one for each step → set model.decompose=0; as a model of its own: experiment=linear_classes", f"{SMOKE} model=linear", 2),
    Case("an Informer that looks ahead at labelled series", "build.py require: gives a padded series", nothing, "Informer that looks ahead gives a padded series another result; expected one that does not depend on it → set model.causal=true", f"{SMOKE} model=informer model.causal=false", 2),
    Case("a head of series for classes", "build.py _of_kind", nothing, "Direct is for series; the task is about labelled series → set head=pool", f"{SMOKE} head=direct", 2),
    Case("labelled series for the task of forecasting", "config.py fitting", nothing, "task=forecast with gunpoint, which are labelled series; expected series → set task=classify, or data, e.g. data=electricity", "train data=gunpoint", 2),
    Case("a baseline beside classes", "verbs/train_classify.py data: baseline", nothing, "baseline= with task=classify; its rival is always beside it → leave baseline out", f"{SMOKE} baseline=theta", 2),
    Case("a refit where a plateau decides", "verbs/train_classify.py data: optim.schedule", nothing, "task.refit with optim.schedule=plateau; nothing is validated as it learns from all → set task.refit=false, or another schedule", f"{SMOKE} optim.schedule=plateau", 2),
    Case("a refit by several processes", "verbs/train_classify.py data: trainer.devices", nothing, "task.refit with trainer.devices=2; one process learns again → set task.refit=false, or one device", f"{SMOKE} trainer.devices=2", 2),
    Case("an augmentation that makes no sense", "inference/class_training.py task: …", nothing, "task.augment.jitter is -1.0; expected 0 or more, 0 for none", f"{SMOKE} task.augment.jitter=-1", 2),
    Case("no series to validate classes", "verbs/train_classify.py data: has no series", nothing, "val has no series; expected one at least: it chooses the epoch → set data.val=0.2, or give data.splits more of it", f"{SMOKE} data.val=0", 3),
    Case("a smoothing of everything", "inference/class_training.py task: task.smoothing", nothing, "task.smoothing is 1.0; expected a share of at least 0, below 1", f"{SMOKE} task.smoothing=1", 2),
    Case("an encoder that learns nothing", "inference/class_training.py task: task.encoder_lr", nothing, "task.encoder_lr is 0.0; expected a factor above 0, e.g. 0.25", f"{SMOKE} task.encoder_lr=0", 2),
    Case("an average that forgets nothing", "inference/class_training.py task: task.average", nothing, "task.average is 1.0; expected a share between 0 and 1, e.g. 0.98, or null", f"{SMOKE} task.average=1", 2),
]
