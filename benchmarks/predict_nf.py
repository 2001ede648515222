"""neuralforecast's side of benchmarks/predict.py: run in an environment that has neuralforecast, and nothing of ours.

python predict_nf.py FOLDER THREADS: FOLDER has train.parquet and panel.parquet; prints a line of facts, then for each
line that comes in one with the seconds of a `predict` of the panel.
"""

import json
import logging
import os
import sys
import time
import warnings

CONTEXT, HORIZON = 168, 24


def main(folder: str, threads: int) -> None:
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["NIXTLA_ID_AS_COL"] = "1"
    warnings.simplefilter("ignore")
    import neuralforecast
    import pandas as pd
    import torch
    from neuralforecast import NeuralForecast
    from neuralforecast.losses.pytorch import MQLoss
    from neuralforecast.models import Informer

    torch.set_num_threads(threads)
    for name in ("pytorch_lightning", "lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "accelerator": "cpu",
             "enable_model_summary": False}  # fmt: skip
    model = Informer(
        h=HORIZON, input_size=CONTEXT, hidden_size=64, n_head=4, conv_hidden_size=64, factor=5, encoder_layers=2,
        decoder_layers=1, distil=True, loss=MQLoss(quantiles=[0.05, 0.5, 0.95]), max_steps=5, scaler_type="standard",
        inference_windows_batch_size=256, valid_batch_size=256, **quiet,
    )  # fmt: skip
    made = NeuralForecast(models=[model], freq="h")
    made.fit(pd.read_parquet(f"{folder}/train.parquet"))
    frame = pd.read_parquet(f"{folder}/panel.parquet")
    parameters = sum(part.numel() for part in made.models[0].parameters())
    print(json.dumps({"neuralforecast": neuralforecast.__version__, "torch": torch.__version__,
                      "parameters": parameters}), flush=True)  # fmt: skip
    for _ in sys.stdin:
        began = time.perf_counter()
        found = made.predict(df=frame)
        print(json.dumps({"seconds": time.perf_counter() - began, "rows": len(found)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
