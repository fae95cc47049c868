"""The published sets: where each table comes from, and how the authors' file becomes our columns.

What is known of the authors' files: ``obs-benchmarks`` was read whole at its commit, of
``epoch-chinchilla`` the columns and the rows that its notebook prints, of ``revisiting-lang`` the
columns and some rows of the original copy, of ``ai-efficiency`` an earlier version; ``routed-moe``
follows the column descriptions of its README. No checksum of any of them is established yet.
Preparing must give the number of runs of the prepared table.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class DatasetEntry:
    """A published set of runs and where its table comes from.

    Parameters
    ----------
    title, citation, licence : str
        For people; they travel in the attrs of the loaded Dataset.
    runs : int
        Rows of the table.
    file, sha256 : str
        Table in bayescale's columns: its file name and checksum.
    url : str
        Authors' file at a fixed commit; empty for the table inside the package.
    prepare : callable, optional
        Authors' file to bayescale's columns; None where that file is not a table.
    need, allow_missing : tuple of str
        As in :func:`bayescale.runs.read_runs`.
    loss_unit : str
        Unit of ``loss`` where it is not nats per token.
    remark : str
        What a user should know before fitting.
    """

    title: str
    citation: str
    licence: str
    runs: int
    file: str
    sha256: str
    url: str = ""
    prepare: Callable[[pd.DataFrame], pd.DataFrame] | None = None
    need: tuple[str, ...] = ("params", "tokens", "loss")
    allow_missing: tuple[str, ...] = ()
    loss_unit: str = "nat/token"
    remark: str = ""


def _epoch_chinchilla(table: pd.DataFrame) -> pd.DataFrame:
    params, flops, loss = table["Model Size"], table["Training FLOP"], table["loss"]
    return pd.DataFrame(
        {
            "run_id": [f"chinchilla_{row:03d}" for row in range(len(table))],
            "params": params,
            # The figure shows N and C; Epoch's notebook takes D from them.
            "tokens": flops / (6 * params),
            "flops": flops,
            "loss": loss,
            "family": "chinchilla_massivetext",
            # Epoch's notebook keeps losses strictly below the fifth largest.
            "epoch_excluded": (loss >= loss.nlargest(5).min()).astype(int),
        }
    )


def _learning_curves(table: pd.DataFrame) -> pd.DataFrame:
    """Learning curves of "Revisiting neural scaling laws": one row a checkpoint."""
    # Tasks of the BIG-Bench rows are written as Python pairs: ('unit', '2-shot').
    task = table["Task"].str.replace(r"[()' ]", "", regex=True).str.replace(",", "_")
    run_id = table["Domain"] + "|" + task + "|" + table["Model"]
    examples = table["Seen Examples"].astype(float)
    frame = pd.DataFrame(
        {
            "run_id": run_id,
            "domain": table["Domain"],
            "task": task,
            "model": table["Model"],
            "seen_examples": examples,
            "loss": table["Loss"],
            "is_train": table["Training"],
            "duplicate": pd.DataFrame({"run": run_id, "seen": examples}).duplicated().astype(int),
        }
    )
    # Only these labels are parameter counts, and only there is an example a token.
    language = table["Domain"].isin(["LM", "BB"])
    if language.any():
        sizes = table["Model"].where(language).str.replace("M", "e6").astype(float)
        frame = frame.assign(params=sizes, tokens=examples.where(language))
    return frame


def _routed(table: pd.DataFrame) -> pd.DataFrame:
    """Last checkpoint of each routed model, in the columns that the authors' README describes."""
    last = table.loc[table.groupby("hyper_id")["step"].idxmax()].reset_index(drop=True)
    same = ["routing_frequency", "step", "flop_increase", "d_model", "num_blocks", "seed"]
    losses = [
        column for column in last if column.startswith("loss_") and "validation" not in column
    ]
    return pd.DataFrame(
        {
            "run_id": last["hyper_id"].astype(str),
            "params": last["dense_parameter_count"],
            "total_params": last["total_parameter_count"],
            "active_params": last["dense_parameter_count"],
            "experts": last["num_experts"],
            "topk": last["k"],
            "router": last["router_type"],
            "family": last["router_type"],
            "size_label": last["model_size_label"],
            # Batches of 256 sequences of 2048 tokens: the 130B tokens of arXiv 2202.01169.
            "tokens": last["step"] * 256.0 * 2048,
            "flops_fwd_per_step": last["flops_per_step"],
            "loss": last["loss_validation"],
        }
    ).join(last[same + losses])


def _observational(table: pd.DataFrame) -> pd.DataFrame:
    scores = ["MMLU", "ARC-C", "HellaSwag", "Winograd", "TruthfulQA", "GSM8K", "XWinograd"]
    frame = pd.DataFrame(
        {
            "run_id": table["Model"],
            "family": table["Model Family"],
            "params": table["Model Size (B)"] * 1e9,
            "tokens": table["Pretraining Data Size (T)"] * 1e12,
            "flops": table["FLOPs (1E21)"] * 1e21,
        }
    )
    for score in (*scores, "HumanEval"):
        frame[f"acc_{score.lower().replace('-', '_')}"] = table[score]
    # 627T tokens for a 3B model: the authors' file surely means 627B.
    return frame.assign(suspect=(table["Model"] == "cerebras/btlm-3b-8k-base").astype(int))


def _efficiency(table: pd.DataFrame) -> pd.DataFrame:
    dates = pd.to_datetime(table["Publication Date"], format="%m/%d/%Y")
    compute = table["Compute (teraflops-s/days)"]
    return pd.DataFrame(
        {
            "run_id": table["Metric"] + "|" + table["Publication"],
            "family": table["Metric"],
            "target": table["Metric"],
            "system": table["Publication"],
            "date": dates.dt.strftime("%Y-%m-%d"),
            "teraflops_s_days": compute,
            "flops": compute * 1e12 * 86400,
            "reduction_factor": table["Reduction Factor"],
        }
    )


def _raw(repository: str, commit: str, file: str) -> str:
    return f"https://raw.githubusercontent.com/{repository}/{commit}/{file}"


_REVISITING = (
    "Alabdulmohsin, Neyshabur, Zhai (2022), Revisiting Neural Scaling Laws in Language and Vision, "
    "arXiv 2209.06640"
)
_NSLPFN = "10a5a60911a2a22ef453d8b4ddf1408b6a6075d9"

#: Every set by name.
DATASETS: dict[str, DatasetEntry] = {
    "pile": DatasetEntry(
        title="Pile test loss of Cerebras-GPT, Pythia, GPT-J and GPT-NeoX",
        citation="Dey et al. (2023), Cerebras-GPT, arXiv 2304.03208; token counts from Biderman et "
        "al. (2023), Pythia, arXiv 2304.01373, and Black et al. (2022), GPT-NeoX-20B, "
        "arXiv 2204.06745",
        licence="published figures; model cards Apache-2.0",
        runs=30,
        file="pile_runs.csv",
        sha256="9ffd8fa95942cc7e8b38d0fc458b00166bcaf498b69b0b79d5f09f3906ebc769",
        remark="params are nominal sizes and flops the authors' own count, not 6ND; families use "
        "different tokenizers, so pool them partially; pythia-deduped-1.4B is an outlier",
    ),
    "epoch-chinchilla": DatasetEntry(
        title="Chinchilla's runs as Epoch read them off the published figure",
        citation="Besiroglu, Erdil, Barnett, You (2024), Chinchilla Scaling: A replication "
        "attempt, arXiv 2404.10102; runs of Hoffmann et al. (2022), arXiv 2203.15556",
        licence="none stated",
        runs=245,
        file="epoch_chinchilla.csv",
        sha256="19e5cd79ba1333fc3bcbab627e9f7ba3bbd58acdd5723c179afb3067ded9985c",
        url=_raw(
            "epoch-research/analyzing-chinchilla",
            "92258837425e1b5f2851d624287f0120583a3d0e",
            "data/svg_extracted_data.csv",
        ),
        prepare=_epoch_chinchilla,
        remark="five runs that Epoch left out are marked epoch_excluded=1 and still here; losses "
        "are quantised by a colour scale; tokens are flops / (6 params)",
    ),
    "datablations": DatasetEntry(
        title="Data-constrained language models: repeated data up to thousands of epochs",
        citation="Muennighoff et al. (2023), Scaling Data-Constrained Language Models, "
        "arXiv 2305.16264",
        licence="Apache-2.0",
        runs=308,
        file="datablations.csv",
        sha256="6feda0913bd34eafb62f99de69bef9f9a63e6a02aa504a2751064d32fd6a8be2",
        url=_raw(
            "huggingface/datablations",
            "13701315b163f1c54642b94ad237b2699187c3ee",
            "utils/parametric_fit.ipynb",
        ),
        need=("params", "tokens", "unique_tokens", "loss"),
        remark="losses above 6 are real (overfitted); the published fit used in_published_fit=1",
    ),
    "olmo-ladder": DatasetEntry(
        title="OLMo ladder, small rungs with reruns",
        citation="Bhagia et al. (2024), Establishing Task Scaling Laws via Compute-Efficient Model "
        "Ladders, arXiv 2412.04403",
        licence="Apache-2.0",
        runs=24,
        file="olmo_ladder_small.csv",
        sha256="962a33f5ee160be7873d4b41a02c4d188bf0b48e255a431cdf50e6bad46392fd",
        url="https://github.com/allenai/OLMo-ladder/tree/67a3f440f787d020da35e3ca8eeae475fae754f5/"
        "src/scripts/paper/data/ladder-runs",
        remark="loss is C4 validation cross-entropy; rerun=1 marks repeats, a measure of noise",
    ),
    "routed-moe": DatasetEntry(
        title="Routed language models: dense, hash, RL and S-Base routing",
        citation="Clark et al. (2022), Unified Scaling Laws for Routed Language Models, "
        "arXiv 2202.01169",
        licence="CC-BY-4.0",
        runs=223,
        file="routed_moe.csv",
        sha256="195ccc8b0a40b62489c89782bb741742910b460e861e74e04c492a47fe14a31e",
        url=_raw(
            "google-deepmind/scaling_laws_for_routing",
            "42da0c392b127df2c01fa7b705f72396050d05e5",
            "data/curves.csv.gz",
        ),
        prepare=_routed,
        need=("params", "tokens", "experts", "loss"),
        remark="params are those a token passes through; tokens hardly vary, so the exponent of "
        "tokens cannot be learnt from these runs",
    ),
    "revisiting-lang": DatasetEntry(
        title="Learning curves in language: translation, language models, BIG-Bench",
        citation=_REVISITING,
        licence="MIT (copy), Apache-2.0 (original)",
        runs=1399,
        file="revisiting_lang.csv",
        sha256="73c503741a06009bea645b3263d195cfe66ffac4090ed557530ce99d0ff6f265",
        url=_raw("DongWooLee-Eli/nslpfn", _NSLPFN, "data/benchmark.lang.csv"),
        prepare=_learning_curves,
        need=("examples", "loss"),
        allow_missing=("params", "tokens", "flops"),
        loss_unit="differs by domain",
        remark="checkpoints, not runs; drop duplicate=1; treat each run_id alone, since units of "
        "loss differ by domain",
    ),
    "revisiting-vision": DatasetEntry(
        title="Learning curves in vision: few-shot image classification",
        citation=_REVISITING,
        licence="MIT (copy), Apache-2.0 (original)",
        runs=18883,
        file="revisiting_vision.csv",
        sha256="288e8b2b7fa7fe6814defbe82916e152e484d6366e9ee066bd3b656107ae4399",
        url=_raw("DongWooLee-Eli/nslpfn", _NSLPFN, "data/benchmark.vision.csv"),
        prepare=_learning_curves,
        need=("examples", "loss"),
        loss_unit="error rate",
        remark="checkpoints, not runs; treat each run_id alone",
    ),
    "obs-benchmarks": DatasetEntry(
        title="Released base models: size, tokens and benchmark accuracies",
        citation="Ruan, Maddison, Hashimoto (2024), Observational Scaling Laws, arXiv 2405.10938",
        licence="Apache-2.0",
        runs=148,
        file="obs_base_llm_benchmarks.csv",
        sha256="ed34360d2d97f4cd3787d1d768f4bea310c63226270822f3d1e6fa781a7f406e",
        url=_raw(
            "ryoungj/ObsScaling",
            "4d6e1e43fd2635d04654aa77d1df9d5266ea0382",
            "eval_results/base_llm_benchmark_eval.csv",
        ),
        prepare=_observational,
        need=("params",),
        allow_missing=("tokens", "flops"),
        remark="no losses; flops are 6ND; suspect=1 marks a token count that is surely wrong",
    ),
    "nlp-progress": DatasetEntry(
        title="Word-level language models by publication year",
        citation="Ruder and contributors, NLP-progress, english/language_modeling.md",
        licence="MIT",
        runs=63,
        file="algorithmic_progress_nlpprogress.csv",
        sha256="9d2c3f7236390036a8649854c7bc502e61535c3b25924a06c206c0450a6d8fd4",
        url=_raw(
            "sebastianruder/NLP-progress",
            "379f03ff7568b18bd9843490b84c94679f880a79",
            "english/language_modeling.md",
        ),
        need=("loss",),
        allow_missing=("params",),
        loss_unit="nat/word",
        remark="mostly small recurrent nets; no token counts, since epochs are not published",
    ),
    "ai-efficiency": DatasetEntry(
        title="Training compute to reach a fixed target, by date",
        citation="Hernandez and Brown (2020), Measuring the Algorithmic Efficiency of Neural "
        "Networks, arXiv 2005.04305",
        licence="none stated",
        runs=12,
        file="algorithmic_progress_ai_efficiency.csv",
        sha256="ad2b2f706b35e5d0f93b9b4d0210df3567eb2d5fc7b4c0a4e478960a29d87ce2",
        url=_raw(
            "openai/ai-and-efficiency",
            "1f280d11be9d3ef2b21f4f2317786233bda288ab",
            "efficiency_sota.csv",
        ),
        prepare=_efficiency,
        need=("flops",),
        remark="no losses: each family is one target, reached with less compute each time",
    ),
}
