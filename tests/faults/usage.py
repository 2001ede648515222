"""A verb, a key or a choice that is not there; a word that is no word of the command line."""

from dataclasses import fields
from pathlib import Path

from forecast.build import TARGETS
from forecast.config import Trainer
from forecast.verbs.help import VERBS, choices

from .case import ANY, TRAIN, Case, Maker, nothing
from .make import both, card, csv, moved, put

MINE = "train --config-dir my experiment=mine"


def experiment(text: str) -> Maker:
    """A config file of the user's."""

    def make(folder: Path) -> None:
        (folder / "my" / "experiment").mkdir(parents=True)
        (folder / "my" / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}", encoding="utf-8")

    return make


# fmt: off
CASES = [
    # The command line
    Case("a mistyped verb", "cli.py no_verb: is not a verb", nothing, f"trian is not a verb; expected a verb: {', '.join(VERBS)} → did you mean train?", "trian", 2),
    Case("no verb, only a key", "cli.py no_verb: stands before", nothing, f"model=linear stands before the verb; expected a verb: {', '.join(VERBS)} → e.g. forecast train model=linear", "model=linear", 2),
    Case("no verb, only a flag", "cli.py no_verb: is not a flag", nothing, f"--epochs is not a flag of forecast; expected a verb: {', '.join(VERBS)} → flags here are --help, --version", "--epochs 3", 2),
    Case("a flag that is not there", "cli.py no_flag", nothing, "--epochs is not a flag of forecast train; options are written key=value, e.g. trainer.max_epochs=3 → flags are --help, --version, --cfg, --resolve, --package, --info, --multirun, --config-dir", "train --epochs 3", 2),
    Case("a flag without its value", "cli.py flag_value: has no value", nothing, "--cfg has no value; expected job or all", "train --cfg", 2),
    Case("a flag with a wrong value", "cli.py flag_value: is not known", nothing, "--cfg jab is not known; expected job, all → did you mean job?", "train --cfg jab", 2),
    Case("a folder of configs that is not there", "cli.py flag_value: no directory", nothing, "--config-dir no is no directory; expected a folder of YAML files",
         "train --config-dir no", 2),
    Case("a group without a choice", "cli.py override: has no value", nothing, f"model has no value; expected model=CHOICE → choose one of: {', '.join(choices('model'))}", "train model", 2),
    Case("a word that is no key=value", "cli.py override: …; …", nothing, "'fast' is not key=value; options are written key=value, e.g. trainer.max_epochs=3", "train fast", 2),
    Case("brackets that do not close", "cli.py translate: cannot be read", nothing, '\'seed=[1\' cannot be read (no viable alternative at input \'[1\'); expected key=value → quote special signs: \'key="a=b"\'', "train seed=[1", 2),
    Case("several values without -m", "cli.py by_message: holds several values", nothing, "seed=1,2 holds several values; expected one → add -m to run each, or write a list as 'seed=[1,2]'",
         "train seed=1,2", 2),
    Case("a group chosen twice", "cli.py by_message: is chosen twice", nothing, "model is chosen twice; expected one choice → write model=… without +",
         "train +model=linear", 2),
    Case("a group that is removed but has another choice", "cli.py by_message: …; see forecast", nothing, "Could not delete 'model=linear'. No match in the defaults list; see forecast train --help",
         "train ~model=linear", 2),
    Case("a mistyped choice", "cli.py no_choice", nothing, "model=informr is not there; expected a choice of model → did you mean informer or informer_tiny or transformer?", "train model=informr", 2),
    Case("a group of another verb", "cli.py no_group", nothing, "model is not a group of forecast evaluate; expected GROUP=CHOICE → it is one of forecast train; see forecast evaluate --help", "evaluate model=linear", 2),
    Case("a key below a value", "cli.py no_key: takes a value", nothing, "model.heads.x is not a key; model.heads takes a value, not keys", "train model.heads.x=3", 2),
    Case("a mistyped key", "cli.py no_key: is not a key of", nothing, f"trainer.max_epoch is not a key of trainer; expected one of {', '.join(field.name for field in fields(Trainer))} → did you mean trainer.max_epochs or trainer.max_steps?", "train trainer.max_epoch=3", 2),
    Case("a word where a whole number is due", "cli.py no_value: …; expected ……; …", nothing, "trainer.max_epochs=three is not valid; expected a whole number → e.g. trainer.max_epochs=4",
         "train trainer.max_epochs=three", 2),
    Case("a word where a list of numbers is due", "cli.py no_value: expected a list", nothing, "optim.betas=[a,b] is not valid; expected a list, each a number",
         "train optim.betas=[a,b]", 2),
    Case("a mistyped word of a fixed few", "cli.py no_value: expected one of", nothing, "task.loss=rmse is not valid; expected one of mse, mae, huber → did you mean mse?",
         "train task.loss=rmse", 2),
    Case("a mistyped key in a config file", "cli.py in_file", experiment("trainer:\n  max_epoch: 3\n"), "conf file experiment/mine: trainer.max_epoch: Key 'max_epoch' not in 'Trainer'; did you mean max_epochs or max_steps?", MINE, 2),
    Case("a config file that is no YAML", "cli.py translate: line", experiment("a: [1\n"), "{here}/my/experiment/mine.yaml line 3: expected ',' or ']', but got '<stream end>'; expected YAML", MINE, 2),
    # What is composed
    Case("a key that was added", "config.py spine: was added", nothing, "trainer.epochs was added; expected no new key → did you mean max_epochs?", "train +trainer.epochs=3", 2),
    Case("a key that was removed", "config.py spine: was removed", nothing, "seed was removed; expected a value → set it, or leave it as it is", "train ~seed", 2),
    Case("a reference to nothing", "config.py check: cannot be resolved", nothing, "data.seed cannot be resolved; Interpolation key 'no' not found → set it to a value", "train 'seed=${no}'", 2),
    Case("a file that was not named", "config.py check: is not set", nothing, "data.path is not set; it has no default → set data.path=FILE, a csv or parquet file", "train data=series", 2),
    # The model
    Case("a class that is not one of ours", "build.py check: _target_", csv(), f"model._target_ is 'os.system'; expected a name this project exports → choose one of: {', '.join(sorted(TARGETS))}",
         f"{TRAIN} model._target_=os.system", 2),
    Case("a key that the model has not", "build.py check: is no key", csv(), "model.depth is no key of Informer → choose one of: activation, aligned, attention, causal, d_ff, d_model, distil, dropout, factor, heads, layers", f"{TRAIN} +model.depth=3", 2),
    Case("a value of the wrong kind", "build.py check: …; expected …", csv(), "model.dropout is 'much'; expected a number", f"{TRAIN} model.dropout=much", 2),
    Case("sizes that do not fit", "build.py make", csv(), "model: d_model 16 is not a multiple of heads 5; change one of the two; expected sizes that fit each other → see model.*", f"{TRAIN} model.heads=5", 2),
    Case("two widths that do not meet", "build.py chain: tokens of width", csv(), "the embedding gives tokens of width 7, the encoder takes 16 → set embed=value, or embed.d_model to the width of the model",
         f"{TRAIN} embed.d_model=7", 2),
    Case("a head that reads steps, over tokens that are none", "build.py chain: reads time steps", csv(), "the embedding gives patches, the head Generative reads time steps → set head=flat", f"{TRAIN} embed=patch", 2),
    Case("a half-life of nothing", "build.py norm", csv(), "half_life is -1.0; expected steps, more than 0", f"{TRAIN} norm=rolling half_life=-1", 2),
    # forecast data, forecast ui
    Case("a word that forecast data has not", "verbs/data.py main: there is no", nothing, "there is no `forecast data chek`; did you mean check? → see `forecast data --help`", "data chek f.csv", 2),
    Case("forecast data list with a name", "verbs/data.py main: takes no '", nothing, "`forecast data list` takes no 'f.csv' → did you mean `forecast data show f.csv`?", "data list f.csv", 2),
    Case("forecast data check without a name", "verbs/data.py main: …; expected one data set", nothing, "`forecast data check` has no name; expected one data set or file → see --help",
         "data check", 2),
    Case("gaps=all, mistyped", "verbs/data.py main: gaps is", csv(), "gaps is 'al'; expected all → write gaps=all, or leave it out for the longest", "data check f.csv gaps=al", 2),
    Case("gaps=all where it means nothing", "verbs/data.py main: takes no gaps=all", csv(), "`forecast data show` takes no gaps=all → use `forecast data check f.csv gaps=all`",
         "data show f.csv gaps=all", 2),
    Case("an option that forecast data has not", "verbs/data.py _options: is not an option", csv(), "'frq' is not an option of `forecast data`; did you mean freq?",
         "data check f.csv frq=h", 2),
    Case("an option without a value", "verbs/data.py _options: has no value", csv(), "freq has no value; expected freq=VALUE → see `forecast data --help`", "data check f.csv freq=", 2),
    Case("an option that is no number", "verbs/data.py _options: expected a number", csv(), "season is 'day'; expected a number → write season=24",
         "data check f.csv season=day", 2),
    Case("an option for a set that has a card", "verbs/data.py described: has a card", nothing, "'electricity' has a card, which takes no 'freq' → leave it out, or give the file of the data",
         "data show electricity freq=h", 2),
    Case("a name that is neither a set nor a file", "verbs/data.py described: neither", nothing, "'electricty' is neither a data set nor a file; did you mean electricity? → see `forecast data list`",
         "data show electricty", 2),
    Case("a card under a name that is not YAML", "verbs/data.py _save", csv(), "save is 'card.txt'; expected a name ending in .yaml → write save=card.yaml", "data show f.csv save=card.txt", 2),
    Case("a flag that forecast ui has not", "verbs/ui.py error", nothing, "unrecognized arguments: --prot 5000; expected forecast ui [--port N] [--host NAME] [--store FILE]", "ui --prot 5000", 2),
    Case("a port that is none", "verbs/ui.py free_port: is no port", put(b"SQLite format 3\0", "mlflow.db"), "--port 70000 is no port; expected 1 to 65535 → e.g. --port 5000",
         "ui --port 70000", 2),
    Case("a host that is not known", "verbs/ui.py free_port: is not known", put(b"SQLite format 3\0", "mlflow.db"),
         f"--host no.such.host.invalid is not known here ({ANY}); e.g. --host 127.0.0.1", "ui --host no.such.host.invalid", 2),
    # A set, a card
    Case("a mistyped data set", "data/card.py load_card: there is no data set", nothing, "there is no data set 'electricty'; did you mean electricity? → see `forecast data list`, or give a file: data=series data.path=FILE",
         "train data.card=electricty", 2),
    Case("a card that is not there", "data/card.py load_card: does not exist", nothing, "the card c.yaml does not exist; expected a YAML file → write one with: forecast data show FILE save=card.yaml", "data show c.yaml", 2),
    Case("a target that is no column", "data/infer.py infer_frame_card", csv(), "data.target names 'load', which is no column of f.csv; choose one of: ds, y", f"{TRAIN} data.target=load", 2),
    Case("a target that is no channel of the card", "data/table.py select: which is no channel", card(), "data.target names 'x', which is no channel; choose one of: y",
         "train data=series data.card=c.yaml data.target=x", 2),
    Case("no target at all", "data/table.py select: is empty", card(), "data.target is empty; expected at least one channel → choose one of: y",
         "train data=series data.card=c.yaml data.target=[]", 2),
    Case("splits that are no mapping", "data/settings.py shares", csv(), "data.splits is 0.8; expected train, val and test → set 'data.splits={train: .7, val: .1, test: .2}', rows, or 'data.splits={val: 2024-01-31, test: 2024-03-01}'", f"{TRAIN} data.splits=0.8", 2),
    Case("a mistyped part in splits", "data/settings.py asked", csv(), "splits has an unknown key 'trian'; did you mean train? → give train, val and test, or the dates val and test",
         f"{TRAIN} 'data.splits={{trian: 0.7, val: 0.1, test: 0.2}}'", 2,
         also=("data/card.py plain_splits: unknown key",)),
    Case("a part that splits leave out", "data/settings.py asked", csv(), "data.splits has train, val; expected train, val and test → set data.splits to fractions {train: .7, val: .1, test: .2}, to rows, or to {val: DATE, test: DATE}",
         f"{TRAIN} 'data.splits={{train: 0.7, val: 0.3}}'", 2, also=("data/split.py split: data.splits has",)),
    Case("splits of words", "data/settings.py asked", csv(), "data.splits is {'train': 'a', 'val': 0.1, 'test': 0.2}; expected numbers of one kind → set data.splits to fractions {train: .7, val: .1, test: .2}, to rows, or to {val: DATE, test: DATE}",
         f"{TRAIN} 'data.splits={{train: a, val: 0.1, test: 0.2}}'", 2,
         also=("data/split.py split: numbers of one kind",)),
    Case("shares that do not sum to 1", "data/settings.py asked", csv(), "data.splits is {'train': 0.7, 'val': 0.3, 'test': 0.2}; expected fractions that sum to 1 → set data.splits to fractions {train: .7, val: .1, test: .2}, to rows, or to {val: DATE, test: DATE}",
         f"{TRAIN} 'data.splits={{train: 0.7, val: 0.3, test: 0.2}}'", 2,
         also=("data/split.py _fractions",)),
    Case("a split of negative rows", "data/settings.py asked", csv(), "data.splits is {'train': 50, 'val': -1, 'test': 20}; expected numbers of rows → set data.splits to fractions {train: .7, val: .1, test: .2}, to rows, or to {val: DATE, test: DATE}",
         f"{TRAIN} 'data.splits={{train: 50, val: -1, test: 20}}'", 2,
         also=("data/split.py _rows: expected numbers of rows",)),
    Case("weights in a column that is not there", "data/panel.py column_weights: no column", csv(), "data.weight names 'wieght', which is no column of f.csv; choose one of: ds, scale, y → set data.weight=scale, or the name of a column", f"{TRAIN} data.weight=wieght", 2),
    Case("a shorter context than the model sees", "data/settings.py least_context: with data.gaps", csv(), "data.min_context is 1 with data.gaps=error; expected a model that is told what it did not see → set data.gaps=mask", f"{TRAIN} data.min_context=1", 2),
    Case("a shortest context longer than the context", "data/settings.py least_context: the context", csv(), "data.min_context is 13; expected at most 12, the context → lower it", f"{TRAIN} data.gaps=mask data.min_context=13", 2),
    Case("a hierarchy without a way to reconcile", "inference/reconcile.py check", csv(), "hierarchy is set, reconcile is not; expected both or none → set reconcile=bottom_up", "predict run=run input=f.csv output=o.csv hierarchy=h.csv", 2),
    Case("a split of more rows than there are", "data/settings.py asked", csv(), "series 'f' has 100 rows; data.splits needs 540 → set data.splits to fractions {train: .7, val: .1, test: .2}, to rows, or to {val: DATE, test: DATE}",
         f"{TRAIN} 'data.splits={{train: 500, val: 20, test: 20}}'", 2,
         also=("data/split.py _rows: series",)),
    Case("a split at what is no date", "data/settings.py asked", csv(), "data.splits is {'val': 'soon', 'test': 'later'}; expected dates like 2024-01-31 → set data.splits to fractions {train: .7, val: .1, test: .2}, to rows, or to {val: DATE, test: DATE}",
         f"{TRAIN} 'data.splits={{val: soon, test: later}}'", 2,
         also=("data/split.py _dates: expected dates",)),
    Case("a split whose dates are reversed", "data/settings.py asked", csv(), "data.splits: val starts 2024-01-04T00:00:00.000000, after test; expected val before test → set data.splits to fractions {train: .7, val: .1, test: .2}, to rows, or to {val: DATE, test: DATE}",
         f"{TRAIN} 'data.splits={{val: 2024-01-04, test: 2024-01-03}}'", 2,
         also=("data/split.py _dates: after test",)),
    Case("a split before the data begin", "data/settings.py asked", csv(), "data.splits: no row is before 2023-01-04; the data start 2024-01-01T00:00:00.000000 → set data.splits to fractions {train: .7, val: .1, test: .2}, to rows, or to {val: DATE, test: DATE}",
         f"{TRAIN} 'data.splits={{val: 2023-01-04, test: 2024-01-03}}'", 2,
         also=("data/split.py _dates: no row is before",)),
    Case("a missing mark that is no number", "data/settings.py numbers", csv(), "data.missing is none; expected a number or a list of numbers → set data.missing=-999", f"{TRAIN} data.missing=none", 2),
    Case("a context of nothing", "data/settings.py whole: …; …; set …=…", csv(), "task.context is 0; expected at least 1 → set task.context=96", f"{TRAIN} task.context=0", 2),
    # Training
    Case("a seed below zero", "verbs/train.py train", csv(), "seed is -1; expected 0 … 2147483647", f"{TRAIN} seed=-1", 2),
    Case("no epochs", "tasks/trainer.py _check: expected at least 1", csv(), "trainer.max_epochs is 0; expected at least 1", f"{TRAIN} trainer.max_epochs=0", 2),
    Case("no share of the batches", "tasks/trainer.py _check: expected more than 0", csv(), "trainer.clip is 0.0; expected more than 0",
         f"{TRAIN} trainer.clip=0", 2),
    Case("validation less often than every epoch", "tasks/trainer.py _check: share of an epoch", csv(), "trainer.val_every is 2.0; expected a share of an epoch, more than 0 and at most 1",
         f"{TRAIN} trainer.val_every=2", 2),
    Case("a budget that is no time", "tasks/trainer.py seconds", csv(), "budget is '10'; expected hours, minutes or seconds → e.g. 30s, 10m or 1h30m", f"{TRAIN} budget=10", 2),
    Case("a strategy that Lightning has not", "tasks/trainer.py make_trainer", csv(), f"trainer: {ANY}'none_such'{ANY}",
         f"{TRAIN} trainer.strategy=none_such", 2),
    Case("warm-up before a plateau", "verbs/train.py _task", csv(), "optim.warmup with optim.schedule=plateau; a plateau has no warmup → set optim.warmup=0",
         f"{TRAIN} optim.schedule=plateau optim.warmup=5", 2),
    Case("a folder of runs that cannot be", "verbs/train.py _claim", csv(), f"{{here}}/f.csv/train/{ANY} cannot be made: Not a directory → set runs= to a folder of yours", f"{TRAIN} runs=f.csv", 2),
    # Predicting, evaluating, going on
    Case("an output of another format", "verbs/predict.py predict: output=", csv(), "output=o.xlsx; expected a name ending in .csv or .parquet",
         "predict run=run input=f.csv output=o.xlsx", 2),
    Case("an output that is there", "verbs/predict.py predict: exists", both(csv(), put("precious", "o.csv")), "o.csv exists → name another file, or set overwrite=true",
         "predict run=run input=f.csv output=o.csv", 2),
    Case("an output that cannot be written", "verbs/predict.py predict: cannot be written", csv(), "f.csv/o.csv cannot be written: File exists → name another place",
         "predict run=run input=f.csv output=f.csv/o.csv", 2, run=True),
    Case("a prediction of no windows at a time", "verbs/predict.py predict: batch_size", csv(), "batch_size is 0; expected at least 1",
         "predict run=run input=f.csv output=o.csv batch_size=0", 2),
    Case("an evaluation of no windows at a time", "verbs/evaluate.py evaluate: batch_size", csv(), "batch_size is 0; expected at least 1",
         "evaluate run=run batch_size=0", 2, run=True),
    Case("nothing to tune", "verbs/tune.py read", nothing, "nothing to tune; expected a key with a space → e.g. 'optim.lr=log(1e-4,1e-2)'", "tune model=linear", 2),
    Case("a choice of nothing", "verbs/tune.py _check: different values", nothing, "seed=choice(1,1) is no space; expected different values → e.g. 'model.d_model=choice(16,32)'", "tune 'seed=choice(1,1)'", 2),
    Case("a space of one number", "verbs/tune.py _check: expected two", nothing, "optim.lr=log(0,1) is no space; expected two numbers above 0, the smaller first → see forecast tune --help", "tune 'optim.lr=log(0,1)'", 2),
    Case("no trials", "verbs/tune.py _count", nothing, "trials is 0; expected a whole number, at least 1 → e.g. trials=20", "tune 'seed=int(1,9)' trials=0", 2),
    Case("pruning that is neither true nor false", "verbs/tune.py _truth", nothing, "prune is maybe; expected true or false", "tune 'seed=int(1,9)' prune=maybe", 2),
    Case("a comparison of one run", "verbs/compare.py compare: with compare=", nothing, "run= with compare=; expected no key but compare, output, runs → leave run out, or compare",
         "evaluate run=run compare=all", 2, run=True),
    Case("a comparison of no run", "verbs/compare.py chosen", nothing, "no run in runs/train is named none_such; expected a sweep, an experiment, or the name or id of runs; * stands for anything → there is nothing to choose from",
         "evaluate compare=none_such", 4),
    Case("a leaderboard that cannot be written", "verbs/compare.py compare: cannot be written", both(csv(), moved("run", "runs/train/run")), "f.csv cannot be written: File exists → name another folder: output=",
         "evaluate compare=all output=f.csv", 2, run=True),
    Case("a resumed run with another model", "verbs/train.py _resumed: settled", csv(), "resume= with model.d_model=: that is settled by the run; expected one of trainer, budget, track, quiet, predictions, resume → leave model.d_model out, or train anew without resume",
         "train resume=run model.d_model=32", 2, run=True),
]
